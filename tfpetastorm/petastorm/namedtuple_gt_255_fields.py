"""`petastorm.namedtuple_gt_255_fields`: since Python 3.7 a namedtuple has as many fields as one likes."""

from __future__ import annotations

from collections import namedtuple as namedtuple_gt_255_fields

__all__ = ["namedtuple_gt_255_fields"]
