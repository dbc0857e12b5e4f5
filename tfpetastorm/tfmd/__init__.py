"""Unischema as the schema proto of TensorFlow Metadata, which TFX's components speak, and back.

tensorflow-metadata, the extra `tfmd`, is imported only when one of the functions is called.
"""

from __future__ import annotations

from tfpetastorm.tfmd.from_proto import schema_to_unischema as schema_to_unischema
from tfpetastorm.tfmd.to_proto import unischema_to_schema as unischema_to_schema

__all__ = ["schema_to_unischema", "unischema_to_schema"]
