"""`petastorm.etl`: what is done to a dataset once, before it is read."""

from tfpetastorm.storage.indexers import RowGroupIndexerBase as RowGroupIndexerBase
