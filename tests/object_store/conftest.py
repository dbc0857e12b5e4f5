"""A real S3 server for the tests of this folder: one a module, emptied before each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.s3_server import S3Server


@pytest.fixture(scope="package")
def running() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


@pytest.fixture
def s3(running: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server, empty and well-behaved; nothing in the environment leads to another."""
    running.reset(objects=True)
    for name in running.environment():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return running
