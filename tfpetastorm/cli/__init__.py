"""The command line: `tfpetastorm info`, `head` and `shuffle-quality`. Nothing here needs TensorFlow."""

from tfpetastorm.cli.main import main

__all__ = ["main"]
