"""Single rows for Spark DataFrames. pyspark is imported when a row is made, not before."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from tfpetastorm.errors import MissingPackageError
from tfpetastorm.schema.petastorm_fields import encode_row
from tfpetastorm.schema.unischema import Unischema


def dict_to_spark_row(unischema: Unischema, row_dict: Mapping[str, Any]) -> Any:
    """A row, encoded by the schema's codecs, as a `pyspark.sql.Row` in the schema's order.

    unischema: given first, so that `functools.partial(dict_to_spark_row, schema)` maps an RDD of dicts. row_dict: is
    not changed; nullable fields may be missing.

    Raises AssertionError if the first argument is no schema, EncodeError (a ValueError) naming the field that is
    missing, null or not as declared, TypeError for what is no scalar in a field of scalars.
    """
    if not isinstance(unischema, Unischema):
        raise AssertionError(f"dict_to_spark_row(schema, row): expected a Unischema, found {type(unischema).__name__}.")
    encoded = encode_row(unischema, row_dict)
    try:
        kind = importlib.import_module("pyspark.sql").Row
    except ImportError as error:
        raise MissingPackageError(f"Spark rows need pyspark ({error}): pip install 'tfpetastorm[spark]'.") from None
    row = kind(*encoded.values())
    row.__fields__ = list(encoded)
    return row
