"""Unischema Parquet as TFX reads it: `UnischemaTFXIO`, over tfx-bsl and Apache Beam.

Both, the extra `tft`, are imported only when it is first named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfpetastorm.tfxio.unischema_tfxio import UnischemaTFXIO as UnischemaTFXIO

__all__ = ["UnischemaTFXIO"]


def __getattr__(name: str) -> Any:
    if name != "UnischemaTFXIO":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tfpetastorm.tfxio.package import require

    require()
    from tfpetastorm.tfxio.unischema_tfxio import UnischemaTFXIO

    return UnischemaTFXIO


def __dir__() -> list[str]:
    return [*globals(), *__all__]
