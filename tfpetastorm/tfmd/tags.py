"""What the schema proto can't say, as a tag in an annotation: `tfpetastorm/1 {…}`, JSON behind the version.

A tag, not `extra_metadata`: an Any of a type that is not everywhere known can't be made JSON (as TFDV's StatsOptions
are), and one of a known type, printed by who knows it, can't be parsed by who doesn't.
"""

from __future__ import annotations

import json
from typing import Any

from tfpetastorm.errors import Place, SchemaError, describe

#: All tags of ours begin so, whatever their version.
PREFIX = "tfpetastorm/"
#: The version of what follows. A reader refuses another.
VERSION = 1


def write_tag(annotation: Any, content: dict[str, Any]) -> None:
    """Add our tag to an Annotation, in one spelling, so that the proto's text is stable."""
    annotation.tag.append(f"{PREFIX}{VERSION} {json.dumps(content, sort_keys=True)}")


def drop_tag(annotation: Any) -> None:
    """Remove our tags of an Annotation, and leave those of others."""
    others = [tag for tag in annotation.tag if not tag.startswith(PREFIX)]
    if len(others) < len(annotation.tag):
        del annotation.tag[:]
        annotation.tag.extend(others)


def read_tag(annotation: Any, place: Place | None = None) -> dict[str, Any] | None:
    """What our tag in an Annotation says; None without one. Those of others are passed over.

    Raises SchemaError if it is malformed, of another version, or if two differ.
    """
    found = sorted({tag for tag in annotation.tag if tag.startswith(PREFIX)})
    if not found:
        return None
    if len(found) > 1:
        raise SchemaError(
            describe(
                "An annotation has several tags of ours that differ", place, expected="one", found="; ".join(found)
            )
        )
    version, _, text = found[0][len(PREFIX) :].partition(" ")
    if version != str(VERSION):
        raise SchemaError(
            describe(
                "A tag was written by another version of this library",
                place,
                expected=f"version {VERSION}",
                found=repr(version),
                remedy="Update tfpetastorm.",
            )
        )
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise SchemaError(describe("A tag is malformed", place, expected="a JSON object", found=repr(found[0])))
    return content
