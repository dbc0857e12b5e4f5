"""The command line. Nothing here needs TensorFlow, but for measuring it."""

from tfpetastorm.cli.main import main

__all__ = ["main"]
