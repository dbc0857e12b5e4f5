"""The command line: `tfpetastorm info URL` and `tfpetastorm head URL`. Nothing here needs TensorFlow."""

from tfpetastorm.cli.main import main

__all__ = ["main"]
