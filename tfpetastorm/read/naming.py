"""Names of what decides the rows of a read task: alike in every process, and others for everything else."""

from __future__ import annotations

import functools
import hashlib
import json
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfpetastorm.schema.codecs import BUILTIN_CODECS, codec_to_json
from tfpetastorm.schema.dtypes import dtype_name
from tfpetastorm.schema.field import UnischemaField


def field_name(field: UnischemaField) -> list[Any] | None:
    """Everything that decides what a stored cell of a field is decoded to; None if that can't be told."""
    codec: Any = None
    if field.codec is not None:
        code = None
        if type(field.codec) not in BUILTIN_CODECS:
            code = code_name(type(field.codec))
            if code is None:
                return None
        codec = [codec_to_json(field.codec), code]
    return [field.name, dtype_name(field.numpy_dtype), list(field.shape), codec]


def declared(fields: Sequence[UnischemaField]) -> list[list[Any]]:
    """What fields declare, as JSON."""
    return [[field.name, dtype_name(field.numpy_dtype), list(field.shape), field.nullable] for field in fields]


def code_name(function: Any) -> str | None:
    """A hash of the code of a function, callable or class, of what it holds, and of what it calls that is not part of
    an installed package, alike in every process; None where it holds what has no such description (a lock, a file).

    Not cloudpickle's bytes: these name functions of modules, so that an edited one is the same, and give classes a
    random number. Packages are known by name and, for want of better, not by version.
    """
    described = _Described(function)
    try:
        described.add(function)
    except _NoNameError:
        return None
    return described.digest.hexdigest()


class _NoNameError(Exception):
    """Something has no description."""


class _Described:
    """Hashes what decides how a callable behaves. Each object is described once, so cycles end."""

    def __init__(self, function: Any) -> None:
        self.digest = hashlib.sha256(repr(sys.version_info[:2]).encode())
        self._seen: dict[int, int] = {}
        self._alive: list[Any] = []
        inner = getattr(function, "func", function)
        owner = inner if isinstance(inner, (types.FunctionType, type)) else type(inner)
        #: The package of the function itself is looked into wherever it is installed.
        self._package = str(owner.__module__).partition(".")[0]

    def add(self, value: Any) -> None:
        """Adds a value of any kind. Raises _NoNameError."""
        if value is None or value is ... or value is NotImplemented:
            return self._text("constant", repr(value))
        if isinstance(value, (bool, int, float, complex, str, bytes)) and type(value).__module__ == "builtins":
            return self._text(type(value).__name__, repr(value))
        if id(value) in self._seen:
            return self._text("again", str(self._seen[id(value)]))
        self._seen[id(value)] = len(self._seen)
        self._alive.append(value)  # or another object might get its id
        self._text("new", type(value).__qualname__)
        if isinstance(value, (tuple, list)):
            return self._all(value)
        if isinstance(value, (set, frozenset)):
            return self._text("set", repr(sorted(map(self._apart, value))))
        if isinstance(value, dict):
            return self._all([part for item in value.items() for part in item])
        if isinstance(value, np.ndarray) and value.dtype != object:
            self._text(value.dtype.str, repr(value.shape))
            return self.digest.update(np.ascontiguousarray(value).tobytes())
        if isinstance(value, types.CodeType):
            return self._code(value)
        if isinstance(value, types.ModuleType):
            return self._text("module", value.__name__)
        if isinstance(value, types.FunctionType):
            return self._function(value) if self._is_own(value.__module__) else self._reference(value)
        if isinstance(value, type):
            return self._class(value) if self._is_own(value.__module__) else self._reference(value)
        return self._object(value)

    def _object(self, value: Any) -> None:
        if isinstance(value, types.MethodType):
            return self._all([value.__func__, value.__self__])
        if isinstance(value, functools.partial):
            return self._all([value.func, value.args, value.keywords])
        if isinstance(value, (staticmethod, classmethod)):
            return self.add(value.__func__)
        if isinstance(value, property):
            return self._all([value.fget, value.fset])
        if isinstance(value, np.ufunc):
            return self._text("ufunc", value.__name__)
        try:
            # Not called: this only asks how the value would be pickled.
            parts = value.__reduce_ex__(4)
        except Exception as error:
            raise _NoNameError from error
        if isinstance(parts, str):
            return self._text("global", parts)
        maker, arguments, *state = parts
        self._all([maker, arguments])
        for part in state[:3]:
            self._all(list(part) if part is not None and hasattr(part, "__next__") else [part])
        return None

    def _function(self, value: types.FunctionType) -> None:
        cells = [cell.cell_contents for cell in value.__closure__ or () if _filled(cell)]
        self._all([value.__code__, value.__defaults__, value.__kwdefaults__, cells])
        names = _names_in(value.__code__)
        for name in sorted(names & value.__globals__.keys()):
            used = value.__globals__[name]
            self._text("global", name)
            self.add(used)
            if isinstance(used, types.ModuleType) and self._is_own(used.__name__):
                for attribute in sorted(names & vars(used).keys()):
                    self._text("attribute", attribute)
                    self.add(vars(used)[attribute])

    def _code(self, code: types.CodeType) -> None:
        # Neither its file nor its lines: where it is written makes no difference.
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        self._text("code", repr((names, counts)))
        self.digest.update(code.co_code)
        self._all(code.co_consts)

    def _class(self, value: type) -> None:
        self._text("class", value.__qualname__)
        self._all(value.__bases__)
        for name, part in sorted(vars(value).items()):
            if name not in _UNIMPORTANT and not isinstance(
                part, (types.GetSetDescriptorType, types.MemberDescriptorType)
            ):
                self._text("member", name)
                self.add(part)

    def _reference(self, value: Any) -> None:
        self._text("reference", f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value.__name__)}")

    def _all(self, values: Any) -> None:
        self._text("items", str(len(values)))
        for value in values:
            self.add(value)

    def _text(self, kind: str, text: str) -> None:
        raw = text.encode("utf-8", "surrogatepass")
        self.digest.update(f"{kind} {len(raw)} ".encode() + raw)

    def _apart(self, value: Any) -> str:
        """The description of a set's member by itself, since sets have no order."""
        described = _Described(value)
        described._package = self._package
        described.add(value)
        return described.digest.hexdigest()

    def _is_own(self, module: Any) -> bool:
        """Whether a module is the user's: the function's package, or none that is installed."""
        if not isinstance(module, str):
            return True
        package = module.partition(".")[0]
        if package in (self._package, "__main__"):
            return package not in sys.stdlib_module_names or package == "__main__"
        source = getattr(sys.modules.get(package), "__file__", None) or ""
        installed = {"site-packages", "dist-packages"} & set(Path(source).parts)
        return package not in sys.stdlib_module_names and package != "tfpetastorm" and bool(source) and not installed


#: What Python puts into a class by itself.
_UNIMPORTANT = {
    "__dict__",
    "__weakref__",
    "__doc__",
    "__module__",
    "_abc_impl",
    "__abstractmethods__",
    "__firstlineno__",
    "__static_attributes__",
}


def _filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _names_in(code: types.CodeType) -> set[str]:
    """The names of globals and attributes in some code and in functions within it."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names_in(constant)
    return names


def as_text(value: Any) -> str:
    """JSON of which there is one spelling."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
