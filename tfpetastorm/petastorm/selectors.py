"""`petastorm.selectors`: which row groups are read, by their indexes."""

from tfpetastorm.storage.selectors import DifferenceIndexSelector as DifferenceIndexSelector
from tfpetastorm.storage.selectors import IntersectIndexSelector as IntersectIndexSelector
from tfpetastorm.storage.selectors import RowGroupSelectorBase as RowGroupSelectorBase
from tfpetastorm.storage.selectors import SingleIndexSelector as SingleIndexSelector
from tfpetastorm.storage.selectors import UnionIndexSelector as UnionIndexSelector
