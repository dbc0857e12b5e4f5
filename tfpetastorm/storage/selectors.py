"""Selectors: which row groups are read, by what their indexes tell."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

from tfpetastorm.errors import OptionError, describe
from tfpetastorm.storage.indexers import RowGroupIndexerBase


class RowGroupSelectorBase(ABC):
    """Says which row groups are read. Selectors are combined by `&`, `|` and `-`; subclass it for your own."""

    @abstractmethod
    def get_index_names(self) -> list[str]:
        """The names of the indexes that `select_row_groups` needs."""

    @abstractmethod
    def select_row_groups(self, index_dict: Mapping[str, RowGroupIndexerBase]) -> set[int]:
        """The row groups to read, as numbers in the dataset's order. index_dict: the indexes by name."""

    def __and__(self, other: RowGroupSelectorBase) -> IntersectIndexSelector:
        return IntersectIndexSelector([self, other])

    def __or__(self, other: RowGroupSelectorBase) -> UnionIndexSelector:
        return UnionIndexSelector([self, other])

    def __sub__(self, other: RowGroupSelectorBase) -> DifferenceIndexSelector:
        return DifferenceIndexSelector(self, other)


class SingleIndexSelector(RowGroupSelectorBase):
    """Row groups in which at least one of some values occurs.

    index_name: a `SingleFieldIndexer`'s, or a `FieldNotNullIndexer`'s, with whatever value. values_list: the values;
    one that is in no row group selects none.
    """

    def __init__(self, index_name: str, values_list: Iterable[Any]) -> None:
        if isinstance(values_list, (str, bytes)) or not isinstance(values_list, Iterable):
            raise OptionError(
                describe("A selector takes its values as a list", expected=f"[{values_list!r}]", found=values_list)
            )
        self._name = index_name
        self._values = list(values_list)

    def get_index_names(self) -> list[str]:
        """The one index it asks."""
        return [self._name]

    def select_row_groups(self, index_dict: Mapping[str, RowGroupIndexerBase]) -> set[int]:
        """The row groups with any of the values."""
        indexer = index_dict[self._name]
        return {group for value in self._values for group in indexer.get_row_group_indexes(value)}


class _Joined(RowGroupSelectorBase):
    def __init__(self, single_index_selectors: Sequence[RowGroupSelectorBase]) -> None:
        self._parts = [_checked(part) for part in single_index_selectors]
        if not self._parts:
            raise OptionError(f"{type(self).__name__} takes at least one selector.")

    def get_index_names(self) -> list[str]:
        """The indexes that any of them asks."""
        return list(dict.fromkeys(name for part in self._parts for name in part.get_index_names()))

    def _selections(self, index_dict: Mapping[str, RowGroupIndexerBase]) -> list[set[int]]:
        return [set(part.select_row_groups(index_dict)) for part in self._parts]


class IntersectIndexSelector(_Joined):
    """Row groups that each of several selectors chooses."""

    def select_row_groups(self, index_dict: Mapping[str, RowGroupIndexerBase]) -> set[int]:
        """The row groups that all of them choose."""
        return reduce(set.intersection, self._selections(index_dict))


class UnionIndexSelector(_Joined):
    """Row groups that at least one of several selectors chooses."""

    def select_row_groups(self, index_dict: Mapping[str, RowGroupIndexerBase]) -> set[int]:
        """The row groups that any of them chooses."""
        return reduce(set.union, self._selections(index_dict))


class DifferenceIndexSelector(_Joined):
    """Row groups that one selector chooses and another does not.

    Mind that these are whole row groups: one left out for a value it has is left out with all its rows.
    """

    def __init__(self, selector: RowGroupSelectorBase, without: RowGroupSelectorBase) -> None:
        super().__init__([selector, without])

    def select_row_groups(self, index_dict: Mapping[str, RowGroupIndexerBase]) -> set[int]:
        """The row groups of the first without those of the second."""
        chosen, without = self._selections(index_dict)
        return chosen - without


def _checked(selector: Any) -> RowGroupSelectorBase:
    if not isinstance(selector, RowGroupSelectorBase):
        raise OptionError(describe("Not a selector", expected="a RowGroupSelectorBase", found=repr(selector)))
    return selector
