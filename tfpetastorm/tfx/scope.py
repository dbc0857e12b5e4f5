"""Where TFX's executors read Parquet, they read it through ours."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any

from tfx.components.util import tfxio_utils

from tfpetastorm.errors import MissingPackageError, describe
from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.tfxio import UnischemaTFXIO

#: The only hook that TFX has: the name, in a module of its own, of the one that its reader of Parquet comes from.
_HOOK = "parquet_tfxio"
#: The codecs of the scope that this thread of control is in; None outside of any.
_codecs: ContextVar[tuple[type[Codec], ...] | None] = ContextVar("tfpetastorm_tfx_codecs", default=None)


class _Readers:
    """Stands where TFX looks up its reader of Parquet: ours within a scope, its own for everyone else."""

    def __init__(self, own: Any) -> None:
        self.own = own

    def ParquetTFXIO(self, *args: Any, **options: Any) -> Any:  # noqa: N802 TFX's name
        codecs = _codecs.get()
        if codecs is None:
            return self.own.ParquetTFXIO(*args, **options)
        return UnischemaTFXIO(*args, codecs=codecs, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)


class _Hook:
    """TFX's module is changed from when the first scope begins until the last has ended, of all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scopes = 0

    def hold(self) -> None:
        with self._lock:
            if not self._scopes:
                own = getattr(tfxio_utils, _HOOK, None)
                if own is None or not hasattr(own, "ParquetTFXIO"):
                    raise MissingPackageError(
                        describe(
                            "This TFX reads Parquet in another way than we know",
                            expected=f"{tfxio_utils.__name__}.{_HOOK}.ParquetTFXIO",
                            found="nothing of that name",
                            remedy="pip install 'tfpetastorm[tfx]' brings one that fits.",
                        )
                    )
                setattr(tfxio_utils, _HOOK, _Readers(own))
            self._scopes += 1

    def release(self) -> None:
        with self._lock:
            self._scopes -= 1
            if not self._scopes:
                setattr(tfxio_utils, _HOOK, getattr(tfxio_utils, _HOOK).own)


_hook = _Hook()


@contextlib.contextmanager
def unischema_tfxio(codecs: Iterable[type[Codec]] = ()) -> Iterator[None]:
    """A scope in which TFX reads Examples artifacts of Parquet through UnischemaTFXIO; other formats as ever.

    Only what runs in this thread of control is concerned: components that run beside it, and everything after the
    scope, read as TFX does. codecs: the user's own codec classes that datasets name. Scopes may be nested.
    """
    _hook.hold()
    before = _codecs.set(tuple(codecs))
    try:
        yield
    finally:
        _codecs.reset(before)
        _hook.release()
