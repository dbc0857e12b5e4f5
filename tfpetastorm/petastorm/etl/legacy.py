"""`petastorm.etl.legacy`: pickled schemas, old and new. They are read symbolically: nothing is imported or called."""

from __future__ import annotations

from typing import Any, BinaryIO, NoReturn

from tfpetastorm.errors import ReplacedError
from tfpetastorm.schema.petastorm_format import read_pickled_schema
from tfpetastorm.schema.unischema import Unischema

#: Modules that a pickle may name and have imported: none, whatever it says.
safe_modules: frozenset[str] = frozenset()


def restricted_loads(s: bytes) -> Unischema:
    """The schema that a pickle of petastorm holds.

    Petastorm's function of this name could be made to run code (uber/petastorm#741). This one raises UnsafeDataError
    for a pickle of anything but a schema, SchemaError for a damaged one.
    """
    return read_pickled_schema(bytes(s))


def depickle_legacy_package_name_compatible(pickled_string: bytes) -> Unischema:
    """The schema that a pickle of petastorm holds, under the names its package had at any time."""
    return restricted_loads(pickled_string)


class RestrictedUnpickler:
    """Reads a pickled schema from a file, as `restricted_loads` does from bytes."""

    def __init__(self, file: BinaryIO, **options: Any) -> None:
        self._file = file

    def find_class(self, module: str, name: str) -> NoReturn:
        """Replaced: no class is looked up. Raises ReplacedError."""
        raise ReplacedError(f"{module}.{name} is not imported: restricted_loads(data) reads schemas as symbols.")

    def load(self) -> Unischema:
        """The schema. Raises UnsafeDataError for a pickle of anything else."""
        return restricted_loads(self._file.read())
