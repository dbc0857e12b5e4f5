"""TFX components over Unischema Parquet: pipelines read the data as it lies, without a copy to TFRecord.

TFX, the extra `tfx`, is imported only when a name that needs it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tfpetastorm.tfx.package import load

if TYPE_CHECKING:
    from tfpetastorm.tfx.example_gen.component import UnischemaExampleGen as UnischemaExampleGen
    from tfpetastorm.tfx.schema_gen import UnischemaSchemaGen as UnischemaSchemaGen

_HOMES = {
    "UnischemaExampleGen": "example_gen.component",
    "UnischemaSchemaGen": "schema_gen",
}

#: Modules that do without TFX.
_WITHOUT_TFX: list[str] = []


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tfpetastorm.tfx' has no attribute {name!r}")
    home = f"tfpetastorm.tfx.{_HOMES[name]}"
    value = getattr(importlib.import_module(home), name) if _HOMES[name] in _WITHOUT_TFX else load(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
