"""`petastorm.tools`."""
