"""`petastorm.etl.rowgroup_indexing`: building and getting indexes of row groups."""

from tfpetastorm.feed.index_building import build_rowgroup_index as build_rowgroup_index
from tfpetastorm.feed.index_building import get_row_group_indexes as get_row_group_indexes
from tfpetastorm.schema.petastorm_index import INDEX_KEY as ROWGROUPS_INDEX_KEY

__all__ = ["ROWGROUPS_INDEX_KEY", "build_rowgroup_index", "get_row_group_indexes"]
