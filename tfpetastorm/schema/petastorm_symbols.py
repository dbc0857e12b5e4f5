"""A pickle read as symbols: what it names becomes inert records, and nothing is imported, called or built.

The opcodes are those of Python's `pickletools` (protocols 0 to 5). Only what can describe plain data and instances
is followed; an opcode that calls something other than the few constructors known here is refused.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from tfpetastorm.errors import SchemaError, UnsafeDataError, describe

#: No schema comes near; what is larger is not read.
MAX_BYTES = 16 << 20

_RECONSTRUCTORS = ("copy_reg._reconstructor", "copyreg._reconstructor")
_OBJECTS = ("__builtin__.object", "builtins.object")
_TUPLES = ("__builtin__.tuple", "builtins.tuple")


@dataclass(frozen=True)
class Symbol:
    """Something a pickle names, as `module.name`."""

    name: str


@dataclass(eq=False)
class Instance:
    """An object that a pickle would make: its class, what its constructor would get, and its attributes."""

    kind: Symbol
    arguments: tuple[Any, ...]
    state: Any = None


class _Mark:
    """The place of a MARK on the stack."""


_MARK = _Mark()


#: What a call that a pickle asks for would return, made from its name and arguments; NotImplemented refuses it.
Calls: TypeAlias = Callable[[str, tuple[Any, ...]], Any]


def read_symbols(
    data: bytes,
    calls: Calls | None = None,
    keys: tuple[type, ...] = (str, int),
    max_bytes: int = MAX_BYTES,
    what: str = "schema",
) -> Any:
    """What a pickle holds: None, bools, numbers, str, bytes, tuples, lists, sets of ints, dicts with str or int keys,
    Symbols and Instances. Byte strings of Python 2 come as str.

    calls: what stands for further calls. keys: types whose hash is cheap and safe, that dicts may have as keys.
    what: is pickled, for messages. Raises UnsafeDataError if it would call anything else, SchemaError if it is damaged.
    """
    if len(data) > max_bytes:
        raise UnsafeDataError(
            describe(f"A pickled {what} is too large to be one", expected=f"at most {max_bytes} bytes", found=len(data))
        )
    machine = _Machine(calls, keys, what)
    try:
        for opcode, argument, _ in pickletools.genops(io.BytesIO(data)):
            if opcode.name == "STOP":
                return machine.pop()
            machine.run(opcode.name, argument)
    except (
        *(ValueError, LookupError, TypeError, ArithmeticError, EOFError, AttributeError, RecursionError),
        Warning,  # of a malformed escape in a string, where warnings are errors
    ) as error:
        if isinstance(error, SchemaError):
            raise
        raise SchemaError(f"A pickled {what} is damaged: {type(error).__name__}: {error}.") from None
    raise SchemaError(f"A pickled {what} is cut off.")


class _Machine:
    """The stack and memo of a pickle being followed."""

    def __init__(self, calls: Calls | None, keys: tuple[type, ...], what: str) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.calls, self.keys, self.what = calls, keys, what

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("a mark where a value should be")
        return value

    def to_mark(self) -> list[Any]:
        values: list[Any] = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def run(self, name: str, argument: Any) -> None:
        if name in _PUSHED:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name == "GLOBAL":
            module, _, attribute = argument.partition(" ")
            self.stack.append(Symbol(f"{module}.{attribute}"))
        elif name in _ACTIONS:
            _ACTIONS[name](self)
        elif name not in ("PROTO", "FRAME"):
            raise UnsafeDataError(f"A pickled {self.what} is refused: it uses {name}, which none needs.")

    def stack_global(self) -> None:
        attribute, module = self.pop(), self.pop()
        if not isinstance(attribute, str) or not isinstance(module, str):
            raise ValueError("a global that is not named by strings")
        self.stack.append(Symbol(f"{module}.{attribute}"))

    def tuple_of(self, count: int) -> None:
        values = tuple(self.pop() for _ in range(count))
        self.stack.append(values[::-1])

    def append(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise ValueError("items added to something that is not a list")
        target.extend(values)

    def set_items(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(values) % 2:
            raise ValueError("items set on something that is not a dict")
        target.update(_pairs(zip(values[::2], values[1::2], strict=True), self.keys))

    def add_items(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, set) or not all(type(value) is int for value in values):
            raise ValueError("items of a set that are no integers")
        target.update(values)

    def new_object(self) -> None:
        arguments, kind = self.pop(), self.pop()
        if not isinstance(kind, Symbol) or not isinstance(arguments, tuple):
            raise ValueError("an object without a class")
        self.stack.append(Instance(kind, arguments))

    def build(self) -> None:
        state, target = self.pop(), self.stack[-1]
        if not isinstance(target, Instance):
            raise ValueError("a state for something that is not an object")
        target.state = state

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Symbol) or not isinstance(arguments, tuple):
            raise ValueError("a call of something that is not a name")
        self.stack.append(_called(function, arguments, self.calls, self.what))


def _pairs(pairs: Any, keys: tuple[type, ...] = (str, int)) -> dict[Any, Any]:
    result = {}
    for key, value in pairs:
        # Hashing a tuple can take forever when it is nested by reference.
        if not isinstance(key, keys):
            raise ValueError("a dict key that is neither str nor int")
        result[key] = value
    return result


def _called(function: Symbol, arguments: tuple[Any, ...], calls: Calls | None, what: str) -> Any:
    """What the few functions that schemas call would return, as inert records."""
    name = function.name
    if name in _RECONSTRUCTORS and len(arguments) == 3 and isinstance(arguments[0], Symbol):
        kind, base, state = arguments
        if base in map(Symbol, _OBJECTS) and state is None:
            return Instance(kind, ())
        if base in map(Symbol, _TUPLES) and isinstance(state, (tuple, list)):
            return Instance(kind, tuple(state))
    if name == "collections.OrderedDict":
        return _pairs(arguments[0] if arguments else ())
    if name == "pyspark.serializers._restore" and len(arguments) == 3:
        kind, names, values = arguments
        if kind == "UnischemaField" and isinstance(names, tuple) and isinstance(values, tuple):
            by_name = _pairs(zip(names, values, strict=True))
            order = ("name", "numpy_dtype", "shape", "codec", "nullable")
            return Instance(Symbol("petastorm.unischema.UnischemaField"), tuple(by_name.get(part) for part in order))
    if name == "_codecs.encode" and len(arguments) == 2 and isinstance(arguments[0], str) and arguments[1] == "latin1":
        return arguments[0].encode("latin1")  # how Python 3 writes bytes in protocols that have none
    if name == "numpy.dtype" and arguments and isinstance(arguments[0], str):
        return Instance(function, arguments)
    if calls is not None and (made := calls(name, arguments)) is not NotImplemented:
        return made
    raise UnsafeDataError(
        describe(
            f"A pickled {what} is refused, as unpickling it would run code",
            expected="calls of what rebuilds one only",
            found=f"a call of {name}",
            remedy="Don't open this dataset with software that unpickles; ask where it comes from.",
        )
    )


_PUSHED = frozenset(
    {
        "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
        "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
        "BINBYTES8",
    }
)  # fmt: skip
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
    "MARK": lambda: _MARK,
}
_ACTIONS: dict[str, Callable[[_Machine], object]] = {
    "POP": lambda machine: machine.stack.pop(),
    "POP_MARK": lambda machine: machine.to_mark(),
    "DUP": lambda machine: machine.stack.append(machine.stack[-1]),
    "TUPLE": lambda machine: machine.stack.append(tuple(machine.to_mark())),
    "TUPLE1": lambda machine: machine.tuple_of(1),
    "TUPLE2": lambda machine: machine.tuple_of(2),
    "TUPLE3": lambda machine: machine.tuple_of(3),
    "LIST": lambda machine: machine.stack.append(machine.to_mark()),
    "APPEND": lambda machine: machine.append([machine.pop()]),
    "APPENDS": lambda machine: machine.append(machine.to_mark()),
    "DICT": lambda machine: machine.stack.append(_pairs(_two_by_two(machine.to_mark()))),
    "SETITEM": lambda machine: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine: machine.set_items(machine.to_mark()),
    "ADDITEMS": lambda machine: machine.add_items(machine.to_mark()),
    "STACK_GLOBAL": _Machine.stack_global,
    "NEWOBJ": _Machine.new_object,
    "BUILD": _Machine.build,
    "REDUCE": _Machine.reduce,
}


def _two_by_two(values: list[Any]) -> Any:
    return zip(values[::2], values[1::2], strict=True)
