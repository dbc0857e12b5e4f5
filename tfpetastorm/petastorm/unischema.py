"""`petastorm.unischema`: schemas, their fields, and single rows on their way to Spark."""

from __future__ import annotations

import re
from collections import namedtuple

from tfpetastorm.schema.petastorm_fields import PetastormField as UnischemaField
from tfpetastorm.schema.petastorm_fields import insert_explicit_nulls as insert_explicit_nulls
from tfpetastorm.schema.petastorm_fields import match_unischema_fields as match_unischema_fields
from tfpetastorm.schema.unischema import Unischema as Unischema
from tfpetastorm.spark.rows import dict_to_spark_row as dict_to_spark_row

__all__ = ["Unischema", "UnischemaField", "dict_to_spark_row", "insert_explicit_nulls", "match_unischema_fields"]

# Python has done both itself since 3.7.
_fullmatch = re.fullmatch
_new_gt_255_compatible_namedtuple = namedtuple
# Fields are in the order they were declared in, always; petastorm's own tests set this.
_UNISCHEMA_FIELD_ORDER = "preserve_input_order"
