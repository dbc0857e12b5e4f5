"""TFX's driver for ExampleGens on files, whose fingerprint is that of the files which are really taken."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tensorflow as tf
from tfx.components.example_gen import driver, input_processor, utils

from tfpetastorm.errors import DatasetError, DatasetNotFoundError, describe
from tfpetastorm.redaction import redact
from tfpetastorm.tfx.example_gen.matched import match


class InputProcessor(input_processor.FileBasedInputProcessor):
    """Finds span and version as TFX does; files as `match` does."""

    def resolve_span_and_version(self) -> tuple[int, int | None]:
        """TFX looks for files by its own means, which need not know the store: only where a pattern asks it to.

        Raises `DatasetNotFoundError` where it finds none, `DatasetError` where it can't look, or would look elsewhere.
        """
        if not any(any(utils.verify_split_pattern_specs(split)) for split in self._splits):
            return 0, None
        base = self._input_base_uri
        if "://" not in base and any(char in base for char in "*?["):
            raise DatasetError(
                describe(
                    "TFX would take input_base for a pattern, where it looks for spans, versions and dates",
                    found=base,
                    expected="a folder's name without *, ? and [",
                    remedy="Rename the folder, or give patterns without {SPAN}, {VERSION} and dates.",
                )
            )
        try:
            found: tuple[int, int | None] = super().resolve_span_and_version()
        except (ValueError, OSError, tf.errors.OpError) as error:
            # Without the error it comes from, which may tell the credentials of a URL.
            patterns = ", ".join(repr(split.pattern) for split in self._splits)
            kind = DatasetNotFoundError if isinstance(error, ValueError) else DatasetError
            raise kind(
                describe(
                    f"TFX can't resolve span and version: {error}",
                    found=f"{patterns} in {redact(self._input_base_uri)}",
                    remedy="It looks through TensorFlow's filesystems, which take no options in URLs; "
                    "patterns without {SPAN}, {VERSION} and dates are looked for by ours.",
                )
            ) from None
        return found

    def get_input_fingerprint(self, span: int, version: int | None) -> str:
        """A line for each input split. Raises `DatasetError` for one without files."""
        patterns = [(one.name, self.get_pattern_for_span_version(one.pattern, span, version)) for one in self._splits]
        return "\n".join(match(self._input_base_uri, name, pattern).fingerprint for name, pattern in patterns)


class Driver(driver.FileBasedDriver):
    """See UnischemaExampleGen."""

    def get_input_processor(
        self, splits: Iterable[Any], range_config: Any = None, input_base_uri: str | None = None
    ) -> InputProcessor:
        """What resolves spans and fingerprints the input."""
        return InputProcessor(input_base_uri, splits, range_config)
