"""`petastorm.etl.rowgroup_indexing`: building and getting indexes of row groups."""

from collections import namedtuple

from tfpetastorm.feed.index_building import build_rowgroup_index as build_rowgroup_index
from tfpetastorm.feed.index_building import get_row_group_indexes as get_row_group_indexes
from tfpetastorm.schema.petastorm_index import INDEX_KEY as ROWGROUPS_INDEX_KEY

#: Into how many tasks petastorm cut the work for Spark; without effect.
PARALLEL_SLICE_NUM = 2000
#: What petastorm told Spark's workers of a row group; nothing takes it now.
PieceInfo = namedtuple("PieceInfo", ["piece_index", "path", "row_group", "partition_keys"])

__all__ = ["PARALLEL_SLICE_NUM", "ROWGROUPS_INDEX_KEY", "PieceInfo", "build_rowgroup_index", "get_row_group_indexes"]
