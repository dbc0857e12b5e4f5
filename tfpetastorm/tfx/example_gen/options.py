"""What UnischemaExampleGen is told beyond TFX's own parameters, as it travels to the executor: in the custom config."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

from google.protobuf import struct_pb2
from tfx.proto import example_gen_pb2
from tfx.types import standard_component_specs as names
from tfx.utils import proto_utils

from tfpetastorm.errors import OptionError
from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.tfx.own_codecs import codecs_of


@dataclass(frozen=True)
class Options:
    """See UnischemaExampleGen. codecs: as `codecs_to_text` gives them."""

    mode: str = "link"
    arrow_lists: bool = False
    unmapped: str = "error"
    codecs: str | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("mode", ("link", "copy")), ("unmapped", ("error", "omit"))):
            if getattr(self, name) not in allowed:
                raise OptionError(f"{name}={getattr(self, name)!r} is none of {', '.join(map(repr, allowed))}.")

    def to_proto(self) -> Any:
        """As TFX's CustomConfig."""
        stored = struct_pb2.Struct()
        stored.update(asdict(self))
        config = example_gen_pb2.CustomConfig()
        config.custom_config.Pack(stored)
        return config

    @staticmethod
    def of(properties: Mapping[str, Any]) -> Options:
        """Those among execution properties."""
        config, stored = example_gen_pb2.CustomConfig(), struct_pb2.Struct()
        proto_utils.json_to_proto(properties[names.CUSTOM_CONFIG_KEY], config)
        config.custom_config.Unpack(stored)
        return Options(**dict(stored))

    @property
    def opening(self) -> dict[str, Any]:
        """Those of `open_inputs`."""
        return {"unmapped": cast(Literal["error", "omit"], self.unmapped), "codecs": self.codec_classes}

    @property
    def codec_classes(self) -> tuple[type[Codec], ...]:
        """The codec classes, imported."""
        classes: Iterable[type[Codec]] = codecs_of({"codecs": self.codecs})
        return tuple(classes)
