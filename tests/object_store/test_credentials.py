"""Credentials appear nowhere: planted ones are searched for in all that is printed, raised, warned of and logged."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tfpetastorm as tps
from benchmarks.s3_server import S3Server
from tests.object_store.test_datasets import environment, write
from tests.storage.helpers import SCHEMA
from tfpetastorm.cli import main
from tfpetastorm.errors import TfpetastormError
from tfpetastorm.redaction import redact, redact_text
from tfpetastorm.upkeep.checking import check_dataset

TOKEN = "planted-session-token/+="
PASSWORD = "planted-password"


@pytest.fixture(scope="module")
def guarded() -> Iterator[S3Server]:
    """A server that asks for a session token too."""
    with S3Server(session_token=TOKEN) as server:
        yield server


def planted(s3: S3Server) -> set[str]:
    secrets = {s3.access_key, s3.secret_key, TOKEN, PASSWORD}
    return secrets | {quote(one, safe="") for one in secrets} | {quote_plus(one) for one in secrets}


def found_in(text: str, s3: S3Server) -> list[str]:
    return [one for one in planted(s3) if one in text]


def everything_told(call: Any, caplog: pytest.LogCaptureFixture) -> str:
    """What a user sees of a call that fails, or of its result: message, repr, traceback, warnings, logs."""
    caplog.clear()
    told = []
    # Our own logs, at their most talkative; what a third party's client says in its debug log is its own.
    with caplog.at_level(logging.DEBUG, "tfpetastorm"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            told.append(repr(call()))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            told += [str(error), repr(error), repr(error.args), "".join(traceback.format_exception(error))]
            told.append("failed")
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("tfpetastorm")]
    return "\n".join([*told, *(str(one.message) for one in caught), *ours])


def ways(s3: S3Server) -> dict[str, tuple[str, dict[str, Any]]]:
    return {
        "url": (s3.url("set"), {}),
        "unquoted": (s3.url("set").replace("%2F", "/"), {}),
        "odd path": (s3.url("a set"), {}),
        "odd option": (s3.url("set") + "&nonsense=" + PASSWORD, {}),
        "pyarrow": ("data/set", {"filesystem": s3.filesystem()}),
        "url and filesystem": (s3.url("set"), {"filesystem": s3.filesystem()}),
        "s3fs": ("s3://data/set", {"filesystem": s3.fsspec()}),
        "chained": (f"simplecache::{s3.url('set')}", {}),
        "chained twice": (f"zip://set::{s3.url('set.zip').replace('%2F', '/')}", {}),
        "http": (f"http://user:{PASSWORD}@127.0.0.1:{s3.port}/data/set?X-Amz-Signature={PASSWORD}", {}),
        "no scheme": (f"nosuch://user:{PASSWORD}@host/set", {}),
    }


@pytest.mark.parametrize("way", ways(S3Server()))
def test_no_error_of_opening_reading_or_writing_tells_them(
    s3: S3Server, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    url, where = ways(s3)[way]
    schema = tps.Unischema("Ids", [tps.UnischemaField("id", np.int64)])
    calls = {
        "open nothing": lambda: tps.open_dataset(url, **where),
        "read nothing": lambda: tps.make_reader(url, **where),
        "append": lambda: tps.DatasetWriter(url, None, mode="append", **where),
        "check": lambda: check_dataset(url, **where),
        "glob": lambda: tps.open_dataset(url.replace("set", "*"), **where),
        "list": lambda: tps.open_dataset([url, url], **where),
        "wrong option": lambda: tps.DatasetWriter(url, schema, compression="none at all", **where),
    }
    for name, call in calls.items():
        told = everything_told(call, caplog)
        assert "failed" in told, name
        assert not found_in(told, s3), f"{name}: {told}"


@pytest.mark.parametrize("way", ["url", "pyarrow", "s3fs"])
def test_no_fault_of_a_store_tells_them(s3: S3Server, way: str, caplog: pytest.LogCaptureFixture) -> None:
    url, where = ways(s3)[way]
    write((url, where), range(10), file_rows=5)
    for code in ("AccessDenied", "SignatureDoesNotMatch", "InvalidAccessKeyId", "ExpiredToken"):
        for match in ("data/set", "GET data/set/part"):
            s3.faults(fail_every=1, status="403 Forbidden", code=code, match=match)
            told = everything_told(lambda: tps.open_dataset(url, **where), caplog)
            assert "failed" in told
            assert not found_in(told, s3), told


@pytest.mark.parametrize("pool", ["thread", "process"])
def test_no_error_of_a_worker_tells_them(s3: S3Server, pool: str, caplog: pytest.LogCaptureFixture) -> None:
    write((s3.url("set"), {}), range(40), row_group_rows=5)

    def fails(columns: Any) -> Any:
        raise RuntimeError(f"no use of {sorted(columns)}")

    def read(**options: Any) -> Any:
        transform = tps.TransformSpec(fails) if options.pop("failing", False) else None
        given = {"reader_pool_type": pool, "workers_count": 1, "num_epochs": 1, "transform_spec": transform}
        reader = tps.make_reader(s3.url("set"), **given, **options)
        s3.faults(fail_every=1, match="GET data/set/part", status="403 Forbidden", code="AccessDenied")
        with reader:
            return list(reader)

    for options in ({}, {"failing": True}, {"on_error": tps.Skip(budget=1)}):
        s3.faults()
        told = everything_told(lambda options=options: read(**options), caplog)  # type: ignore[misc]
        assert "failed" in told
        assert not found_in(told, s3), told


def test_objects_that_know_them_do_not_show_them(s3: S3Server) -> None:
    url = s3.url("set")
    writer = tps.DatasetWriter(url, SCHEMA)
    shown = [repr(writer), str(vars(writer).get("url"))]
    writer.abort()
    write((url, {}), range(10))
    dataset = tps.open_dataset(url)
    shown += [repr(dataset), str(dataset), repr(dataset.filesystem), repr(dataset.row_groups), dataset.url]
    with tps.make_reader(url, num_epochs=1) as reader:
        shown += [repr(reader), str(reader)]
    made = tps.make_dataset(url, nulls="mask", batch_size=2)
    shown += [repr(made), str(made.element_spec)]
    assert not found_in("\n".join(shown), s3), shown


def test_a_session_token_is_as_secret(guarded: S3Server, caplog: pytest.LogCaptureFixture) -> None:
    where = {"filesystem": guarded.fsspec()}
    write(("data/set", where), range(5))
    options = guarded.storage_options()
    with tps.make_reader("s3://data/set", storage_options=options, num_epochs=1) as reader:
        assert len(list(reader)) == 5
    wrong = [
        options | {"token": TOKEN + "expired"},
        options | {"nonsense": PASSWORD, "client_kwargs": {"nonsense": PASSWORD}},
        options | {"endpoint_url": f"http://user:{PASSWORD}@127.0.0.1:1"},
    ]
    for bad in wrong:
        told = everything_told(lambda bad=bad: tps.make_reader("s3://data/set", storage_options=bad), caplog)  # type: ignore[misc]
        assert "failed" in told
        assert not found_in(told, guarded), told


def test_a_driver_that_tells_its_options_is_not_repeated(caplog: pytest.LogCaptureFixture, s3: S3Server) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    class Talkative(MemoryFileSystem):  # type: ignore[misc]
        protocol = "talkative"

        def info(self, path: str, **options: Any) -> Any:
            try:
                raise KeyError(PASSWORD)
            except KeyError as error:
                raise RuntimeError(f"{path}: refused {self.storage_options}") from error

    told = everything_told(lambda: tps.open_dataset("/x", filesystem=Talkative(password=PASSWORD)), caplog)
    assert "refused" in told
    assert not found_in(told, s3), told


def test_the_command_line_and_its_tracebacks(s3: S3Server, capfd: pytest.CaptureFixture[str]) -> None:
    write((s3.url("set"), {}), range(5))
    for url in (s3.url("none"), s3.url("set").replace("%2F", "/"), s3.url("set") + "&nonsense=1"):
        for command in ("info", "head", "throughput", "generate-metadata"):
            assert main([command, url]) == 2, command
        assert main(["copy", s3.url("set"), url.replace("set", "none")]) in (0, 2)
    assert not found_in("".join(capfd.readouterr()), s3)


def test_a_program_that_dies_of_an_error(s3: S3Server, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import os, tfpetastorm as tps\ntps.make_dataset(os.environ['DATASET'])\n")
    done = subprocess.run(
        [sys.executable, program], env=environment() | {"DATASET": s3.url("none")}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "there is no" in done.stderr
    assert not found_in(done.stdout + done.stderr, s3)
    assert os.environ.get("DATASET") is None


@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P"], exclude_characters="'\"<>`"), min_size=1))
def test_text_around_a_url_stays_and_redacting_twice_changes_nothing(secret: str) -> None:
    url = f"s3://key:0SECRET0{secret}0SECRET0@bucket/x"
    for text in (f"can't open {url}: no. Check it", f"'{url}'", f"[{url}]", url):
        once = redact_text(text)
        assert "0SECRET0" not in once
        assert redact_text(once) == once
        assert text[: text.index("s3://")] == once[: once.index("s3://")]
    assert redact(redact(url)) == redact(url)


def test_every_class_of_error_redacts() -> None:
    classes = [TfpetastormError]
    for one in classes:
        classes += one.__subclasses__()
        with contextlib.suppress(TfpetastormError):
            raise one(f"s3://key:{PASSWORD}@bucket/x?token={PASSWORD} is bad")
        assert PASSWORD not in repr(one(f"s3://key:{PASSWORD}@bucket/x?token={PASSWORD} is bad"))
