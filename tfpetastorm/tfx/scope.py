"""Where TFX's executors read Parquet, they read it through ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any

from tfx.components.util import tfxio_utils

from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.tfx.hook import Hook
from tfpetastorm.tfxio import UnischemaTFXIO

#: The codecs of the scope that this thread of control is in; None outside of any.
_codecs: ContextVar[tuple[type[Codec], ...] | None] = ContextVar("tfpetastorm_tfx_codecs", default=None)


class _Readers:
    """Stands where TFX looks up its reader of Parquet: ours within a scope, its own for everyone else."""

    def __init__(self, own: Any) -> None:
        self._own = own

    def ParquetTFXIO(self, *args: Any, **options: Any) -> Any:  # noqa: N802 TFX's name
        codecs = _codecs.get()
        if codecs is None:
            return self._own.ParquetTFXIO(*args, **options)
        return UnischemaTFXIO(*args, codecs=codecs, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)


#: The module that TFX takes its reader of Parquet from, as its own `make_tfxio` knows it.
_readers = Hook(tfxio_utils, "parquet_tfxio", "ParquetTFXIO", _Readers)


@contextlib.contextmanager
def unischema_tfxio(codecs: Iterable[type[Codec]] = ()) -> Iterator[None]:
    """A scope in which TFX reads Examples artifacts of Parquet through UnischemaTFXIO; other formats as ever.

    Only what runs in this thread of control is concerned: components that run beside it, and everything after the
    scope, read as TFX does. codecs: the user's own codec classes that datasets name. Scopes may be nested.
    """
    with _readers.held():
        before = _codecs.set(tuple(codecs))
        try:
            yield
        finally:
            _codecs.reset(before)


def in_scope() -> bool:
    """Whether this thread of control is in a scope."""
    return _codecs.get() is not None
