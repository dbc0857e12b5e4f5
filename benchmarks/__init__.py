"""How fast and how lean the library is, always as a ratio to a reference measured in the same run."""
