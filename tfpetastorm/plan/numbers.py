"""Whole numbers that users give, as plain Python integers.

NumPy's integers equal Python's but print otherwise, and differently in each major release, so that what is hashed
from their text would not be a function of their value.
"""

from __future__ import annotations

import operator
from typing import Any

from tfpetastorm.errors import OptionError


def whole_number(name: str, value: Any, minimum: int | None = None) -> int:
    """`value`, a Python or NumPy integer, as an int. Raises OptionError for anything else (also for bools), or if it
    is less than `minimum`."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise OptionError(f"{name} is a whole number, not {value!r}.") from None
    if minimum is not None and number < minimum:
        raise OptionError(f"{name} is a whole number of at least {minimum}, not {number}.")
    return number
