"""Petastorm's `reader_impl`: of its modules, those that people use by themselves."""
