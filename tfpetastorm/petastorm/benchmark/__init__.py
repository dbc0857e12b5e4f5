"""`petastorm.benchmark`."""
