"""`petastorm.hdfs.namenode`: libhdfs does what petastorm's connectors did. Each name says by an error what to call."""

from __future__ import annotations

from typing import Any, NoReturn

from tfpetastorm.errors import HdfsReplacedError
from tfpetastorm.stores.petastorm_urls import HDFS_NOW


class HdfsConnectError(OSError):
    """Petastorm raised it where no namenode answered; nothing does now, and programs may still catch it."""


class MaxFailoversExceeded(RuntimeError):  # noqa: N818 - petastorm's name
    """Petastorm raised it after too many fail-overs; nothing does now, and programs may still catch it."""


def _replaced(name: str) -> NoReturn:
    raise HdfsReplacedError(f"{name} is replaced: {HDFS_NOW}.")


class HdfsNamenodeResolver:
    """Replaced: raises HdfsReplacedError, which shows the new call."""

    def __init__(self, hadoop_configuration: Any = None) -> None:
        _replaced("HdfsNamenodeResolver")


class HAHdfsClient:
    """Replaced: raises HdfsReplacedError, which shows the new call."""

    def __init__(self, connector_cls: Any = None, list_of_namenodes: Any = None, user: str | None = None) -> None:
        _replaced("HAHdfsClient")


class HdfsConnector:
    """Replaced: it and its methods raise HdfsReplacedError, which shows the new call."""

    MAX_NAMENODES = 2

    def __init__(self) -> None:
        _replaced("HdfsConnector")

    @classmethod
    def hdfs_connect_namenode(cls, url: Any, driver: Any = None, user: str | None = None) -> NoReturn:
        """Replaced."""
        _replaced("HdfsConnector.hdfs_connect_namenode")

    @classmethod
    def connect_to_either_namenode(cls, list_of_namenodes: Any, user: str | None = None) -> NoReturn:
        """Replaced."""
        _replaced("HdfsConnector.connect_to_either_namenode")


def namenode_failover(func: Any) -> NoReturn:
    """Replaced: raises HdfsReplacedError, which shows the new call."""
    _replaced("namenode_failover")


def failover_all_class_methods(decorator: Any) -> NoReturn:
    """Replaced: raises HdfsReplacedError, which shows the new call."""
    _replaced("failover_all_class_methods")
