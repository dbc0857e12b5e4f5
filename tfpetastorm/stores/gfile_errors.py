"""TensorFlow's errors as Python's own, without credentials: what a `pyarrow.fs` filesystem raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from tfpetastorm.errors import Place, StoreError, describe
from tfpetastorm.redaction import scrub, secrets_of_options

_T = TypeVar("_T")

#: Their clients in TensorFlow try again for half a minute and longer by themselves: nobody should try those again.
_PATIENT = ("s3", "gs")
#: The codes of `tf.errors` that say more than that something failed (tensorflow/core/protobuf/error_codes.proto).
_KINDS: dict[int, type[Exception]] = {
    3: ValueError,
    5: FileNotFoundError,
    6: FileExistsError,
    7: PermissionError,
    12: NotImplementedError,
    16: PermissionError,
}


def asked(scheme: str, path: str, call: Callable[[], _T]) -> _T:
    """What `call` returns; what TensorFlow raises comes as FileNotFoundError, PermissionError, … or OSError, and as
    StoreError where a store's client has tried long enough. scheme, path: the file in question."""
    try:
        return call()
    except Exception as error:
        if not _is_tensorflows(error):
            raise
        raised = _as_pythons(error, scheme, path)
    # Outside of the handling: the first error, with all it tells, must not be shown as the context of the second.
    raise raised


def _is_tensorflows(error: Exception) -> bool:
    return type(error).__module__.startswith("tensorflow.") and hasattr(error, "error_code")


def _as_pythons(error: Any, scheme: str, path: str) -> Exception:
    words = " ".join(scrub(str(error.message), secrets_of_options(())).split()).strip(" :.")
    if "Is a directory" in words:
        return IsADirectoryError(words)
    kind = _KINDS.get(error.error_code)
    if kind is not None:
        return kind(words if path in words else f"{path}: {words}" if words else path)
    reason = f"{type(error).__name__}: {words}"
    if scheme in _PATIENT:
        remedy = "TensorFlow's client has given up. Check the address, the permissions and the network."
        return StoreError(describe(f"tf.io.gfile failed: {reason}", Place(path), remedy=remedy))
    return OSError(reason)
