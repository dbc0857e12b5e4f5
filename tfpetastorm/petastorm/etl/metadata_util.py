"""`python -m tfpetastorm.etl.metadata_util`: shows the schema and the row-group indexes of a dataset.

`tfpetastorm info` tells more.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tfpetastorm.errors import OptionError
from tfpetastorm.storage.opening import open_dataset

from . import dataset_metadata, rowgroup_indexing


def _main(args: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="metadata utility", description="Shows the metadata of a dataset.")
    parser.add_argument("--dataset-url", required=True, help="the dataset")
    parser.add_argument("--schema", action="store_true", help="show its schema")
    parser.add_argument("--index", action="store_true", help="show its row-group indexes")
    parser.add_argument("--print-values", action="store_true", help="with the row groups of each value")
    parser.add_argument("--skip-index", nargs="+", default=(), help="indexes whose values are not shown")
    parser.add_argument("--hdfs-driver", help="not used: no driver is needed")
    options = parser.parse_args(args)
    stored = open_dataset(options.dataset_url)
    if options.schema or not options.index:
        print("*** Schema from dataset metadata ***")
        print(dataset_metadata.get_schema(stored))
    if options.index or not options.schema:
        print("*** Row group indexes from dataset metadata ***")
        try:
            indexes = rowgroup_indexing.get_row_group_indexes(stored)
        except OptionError:
            indexes = {}  # it has none
        for name, index in indexes.items():
            print(f"Index: {name}")
            if name in options.skip_index:
                print("  (skipped)")
                continue
            for value in index.indexed_values:
                groups = index.get_row_group_indexes(value)
                print(f"  -- {value}({len(groups)})")
                if options.print_values:
                    print(groups)


if __name__ == "__main__":
    _main(sys.argv[1:])
