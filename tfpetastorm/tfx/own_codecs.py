"""The user's own codecs as an execution property, which is text: executors run elsewhere than pipelines are built."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from tfpetastorm.errors import OptionError, describe
from tfpetastorm.schema.codecs.base import Codec

#: The name of the execution property.
CODECS = "codecs"


def codecs_to_text(codecs: Iterable[type[Codec]]) -> str | None:
    """Codec classes by where they are imported from; None for none.

    Raises OptionError for what is no codec class, or can't be imported by its name.
    """
    names = []
    for codec in codecs:
        given: object = codec
        name = f"{getattr(given, '__module__', '')}:{getattr(given, '__qualname__', '')}"
        if not (isinstance(given, type) and issubclass(given, Codec)):
            raise OptionError(describe("codecs takes codec classes", expected="subclasses of Codec", found=repr(given)))
        if "<locals>" in name:
            raise OptionError(
                describe(
                    "TFX's executors import codecs",
                    expected="a class at the top of a module",
                    found=name,
                    remedy="Move it there.",
                )
            )
        names.append(name)
    return json.dumps(names) if names else None


def codecs_of(properties: Mapping[str, Any]) -> tuple[type[Codec], ...]:
    """The codec classes among execution properties: what the pipeline's author gave, never what a dataset names.

    Raises OptionError for one that can't be imported here.
    """
    return tuple(_imported(name) for name in json.loads(properties.get(CODECS) or "[]"))


def _imported(name: str) -> type[Codec]:
    module, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise OptionError(
            describe(
                "A codec given to the component can't be imported where it runs",
                expected=f"{path} in the module {module}",
                found=str(error),
                remedy="Install the module there.",
            )
        ) from error
    if not (isinstance(found, type) and issubclass(found, Codec)):
        raise OptionError(describe("codecs takes codec classes", expected="subclasses of Codec", found=repr(found)))
    return found
