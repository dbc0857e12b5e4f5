"""Petastorm's readers over this library's engine: rows as namedtuples, row groups as batches of arrays."""
