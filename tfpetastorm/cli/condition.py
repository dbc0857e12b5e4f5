"""`--where 'speed > 2'`: the command line's spelling of filters."""

from __future__ import annotations

import ast
import re
from typing import Any

from tfpetastorm.errors import OptionError
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.storage.where import unknown_field

_CONDITION = re.compile(r"\s*(?P<field>.+?)\s*(?P<how>==|!=|<=|>=|=|<|>|\bnot\s+in\b|\bin\b)\s*(?P<value>.+?)\s*")
_WORDS = {"true": True, "false": False, "null": None, "none": None}


def conditions(texts: list[str], schema: Unischema) -> list[tuple[str, str, Any]]:
    """Conditions such as `speed > 2`, `name = "a b"`, `label in [1, 2]`, `label != null` as tuples for `where=`.

    A value is a number, a quoted string, a list in brackets, true, false or null; anything else is a string.
    Raises OptionError for what is no condition, or an unknown field.
    """
    return [_condition(text, schema) for text in texts]


def _condition(text: str, schema: Unischema) -> tuple[str, str, Any]:
    matched = _CONDITION.fullmatch(text)
    if not matched:
        raise OptionError(f"{text!r} is no condition. Write a field, an operator and a value: --where 'speed > 2'.")
    name, how, value = matched.group("field", "how", "value")
    if name not in schema:
        raise unknown_field(name, list(schema.fields))
    is_text = schema.fields[name].kind == "text"
    if how.startswith(("in", "not")):
        return name, how, _list(text, value, is_text)
    return name, how, _value(value, is_text)


def _list(text: str, value: str, is_text: bool) -> list[Any]:
    if not (value[:1] in "[(" and value[-1:] in ")]"):
        raise OptionError(f"{text!r} needs a list: --where 'label in [1, 2]'.")
    try:
        items = ast.literal_eval(value)
        return list(items) if isinstance(items, (list, tuple)) else [items]
    except (ValueError, SyntaxError):
        return [_value(item.strip(), is_text) for item in value[1:-1].split(",") if item.strip()]


def _value(text: str, is_text: bool) -> Any:
    """A literal; a bare word is a string, and so is a bare number where the field holds strings."""
    if text.lower() in ("null", "none") or (text.lower() in _WORDS and not is_text):
        return _WORDS[text.lower()]
    if is_text and text[:1] not in "'\"":
        return text
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
