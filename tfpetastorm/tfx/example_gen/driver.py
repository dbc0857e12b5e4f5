"""TFX's driver for ExampleGens on files, whose fingerprint is that of the files which are really taken."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tfx.components.example_gen import driver, input_processor, utils

from tfpetastorm.tfx.example_gen.matched import match


class InputProcessor(input_processor.FileBasedInputProcessor):
    """Finds span and version as TFX does; files as `match` does."""

    def resolve_span_and_version(self) -> tuple[int, int | None]:
        """TFX looks for files by its own means, which need not know the store: only where a pattern asks it to."""
        if any(any(utils.verify_split_pattern_specs(split)) for split in self._splits):
            found: tuple[int, int | None] = super().resolve_span_and_version()
            return found
        return 0, None

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
