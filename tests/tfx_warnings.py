"""Warnings of TFX and what it brings, by their exact messages: everything else is an error in its tests too."""

from __future__ import annotations

#: As `pytest.mark.filterwarnings` takes them.
OF_TFX: list[str] = [
    "ignore:DEFAULT_FILE_NAME will be deprecated soon:DeprecationWarning",
]
