"""Which entries of a cache a read task has, and what is in them.

Without a transform, or where rows are selected: the decoded columns of all rows of the task, nulls as they are, and of
fields that an expression looks at the stored columns too. So a filter is applied to what was cached. Else, if the
transform's code can be told from others, its output.
"""

from __future__ import annotations

import functools
import sys
import warnings
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from tfpetastorm.errors import DatasetWarning
from tfpetastorm.plan.tasks import ReadTask
from tfpetastorm.read.cache import DiskCache, Kept
from tfpetastorm.read.naming import as_text, code_name, declared, field_name
from tfpetastorm.read.predicate import AllOf, ExpressionPredicate, Predicate
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.stores.patience import TROUBLE

if TYPE_CHECKING:
    from tfpetastorm.read.spec import ReadSpec

#: Of the form of what is kept. Entries of others are not found.
_FORMAT = 1


@functools.cache
def _version() -> str:
    """This library's, since another may decode otherwise."""
    try:
        return version("tfpetastorm")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return ""


def transform_name(spec: ReadSpec) -> str | None:
    """A name of the transform with its options and what nulls become before it; None where there is none, or none that
    would be another for other code."""
    change = spec.transform
    if spec.cache is None or change is None or not spec.cache.transformed:
        return None
    code = "none" if change.function is None else code_name(change.function)
    if code is None:
        return None
    kind = [type(change).__name__, getattr(change, "batched", None)]
    return as_text([kind, code, declared(spec.output), spec.nulls.key])


class TaskCache:
    """The entries of a read spec's tasks in its cache."""

    def __init__(self, spec: ReadSpec, cache: DiskCache) -> None:
        self._spec = spec
        self._cache = cache
        seen, looked_at = _function_fields(spec), _expression_fields(spec.where)
        names = dict.fromkeys([*spec.fields, *seen])
        #: The fields whose decoded columns are kept, and whether Python sees them.
        self.decoded: list[tuple[UnischemaField, bool]] = [
            (spec.schema.fields[name], spec.shown or name in seen) for name in names
        ]
        #: The fields whose stored columns are kept.
        self.stored = [spec.schema.fields[name] for name in looked_at]
        self._rows = self._named({}, [field for field, _ in self.decoded])
        self._output = None
        if spec.transform_name is not None and not spec.selects:
            self._output = self._named({"transform": spec.transform_name}, spec.read_fields)
        self._warned = False

    def _named(self, more: dict[str, Any], fields: list[UnischemaField]) -> dict[str, Any] | None:
        spec = self._spec
        named = [field_name(field) for field in fields]
        if None in named:
            return None
        shown = [field.name for field, seen in self.decoded if seen and field.kind == "text"]
        paths = [list(spec.source.column_paths.get(field.name, ())) for field in fields]
        stored = [[field.name, str(spec.filter_schema.field(field.name).type)] for field in self.stored]
        return {
            "version": [_FORMAT, _version(), sys.byteorder],
            "limits": repr(spec.limits),
            "fields": named,
            "paths": paths,
            "shown": shown,
            "stored": [] if more else stored,
            **more,
        }

    # ------------------------------------------------------------------ entries

    def rows(self, task: ReadTask) -> Kept | None:
        """What is kept of all rows of a task, before selection, nulls and transform; None if nothing is."""
        key = self._key(self._rows, task)
        names = [field.name for field, _ in self.decoded]
        found = None if key is None else self._cache.load(key, task.stop - task.start, names)
        return found if found is None or set(found.stored) == {field.name for field in self.stored} else None

    def keep_rows(self, task: ReadTask, kept: Kept) -> None:
        """Keeps what `rows` gives."""
        self._keep(self._key(self._rows, task), task, kept)

    def keeps_output(self, task: ReadTask) -> bool:
        """Whether it is the output of the transform that is kept of a task."""
        return self._output is not None and task.take is None

    def output(self, task: ReadTask) -> Kept | None:
        """What is kept of the output of a task; None if nothing is."""
        key = self._key(self._output, task)
        names = [field.name for field in self._spec.output]
        return None if key is None else self._cache.load(key, task.stop - task.start, names)

    def keep_output(self, task: ReadTask, kept: Kept) -> None:
        """Keeps what `output` gives."""
        self._keep(self._key(self._output, task), task, kept)

    def _keep(self, key: str | None, task: ReadTask, kept: Kept) -> None:
        if key is not None and self._unchanged(task):
            self._cache.keep(key, kept)

    def _key(self, named: dict[str, Any] | None, task: ReadTask) -> str | None:
        source = self._spec.source
        file = source.inventory.files[int(source.inventory.row_group_file[task.row_group])]
        if named is None or file.mtime_ns < 0:
            if not self._warned:
                self._warned = True
                why = "the store does not tell when files were written" if named else "a codec's code can't be named"
                warnings.warn(f"Nothing is cached, since {why}.", DatasetWarning, stacklevel=2)
            return None
        where = [source.filesystem.type_name, file.path, file.size, file.mtime_ns]
        ordinal = int(source.inventory.row_group_ordinal[task.row_group])
        return as_text({**named, "file": where, "row_group": ordinal, "rows": [task.start, task.stop]})

    def _unchanged(self, task: ReadTask) -> bool:
        """Whether a file is still the one that the key names: it may have been replaced before it was read."""
        source = self._spec.source
        file = source.inventory.files[int(source.inventory.row_group_file[task.row_group])]
        try:
            (info,) = source.filesystem.get_file_info([file.path])
        except TROUBLE:
            return False
        return bool(info.size == file.size and info.mtime_ns == file.mtime_ns)


def _expression_fields(where: Predicate | None) -> list[str]:
    """The fields that expressions look at, which take stored columns."""
    if isinstance(where, AllOf):
        return list(dict.fromkeys(name for part in where.parts for name in _expression_fields(part)))
    return list(where.fields) if isinstance(where, ExpressionPredicate) else []


def _function_fields(spec: ReadSpec) -> list[str]:
    """The fields that functions and the split look at, which take decoded columns."""
    names: list[str] = []
    waiting = [spec.where]
    while waiting:
        where = waiting.pop(0)
        if isinstance(where, AllOf):
            waiting += where.parts
        elif where is not None and not isinstance(where, ExpressionPredicate):
            names += where.fields
    if spec.split is not None and spec.split.by not in ("row", "row_group"):
        names.append(spec.split.by)
    return list(dict.fromkeys(names))
