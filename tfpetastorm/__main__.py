"""`python -m tfpetastorm` is the command line."""

from tfpetastorm.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
