"""`petastorm.etl.rowgroup_indexers`: what an index of row groups tells."""

from tfpetastorm.storage.indexers import FieldNotNullIndexer as FieldNotNullIndexer
from tfpetastorm.storage.indexers import SingleFieldIndexer as SingleFieldIndexer
