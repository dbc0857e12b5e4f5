"""The files of the disk cache: whole or not there, bounded, and shared by processes."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from tfpetastorm.errors import OptionError
from tfpetastorm.read.layout import Layout, array_at
from tfpetastorm.read.store import FileStore

MB = 1 << 20


def put(store, key, array):
    layout = Layout()
    entry = layout.add(np.asarray(array))
    return store.write(key, {"array": entry}, layout)


def get(store, key):
    found = store.read(key)
    return None if found is None else array_at(found[1], found[0]["array"], found[2])


def files(store):
    return sorted((store.folder / "entries").iterdir(), key=lambda path: path.stat().st_mtime_ns)


@pytest.fixture
def store(tmp_path):
    return FileStore(tmp_path / "cache", 100 * MB, "lru")


@pytest.mark.parametrize("count", [0, 1, 7, 64, 8191, 3_000_001, 6_000_001])
def test_what_was_kept_is_found_again(store, count):
    values = np.random.default_rng(0).integers(0, 255, count, np.uint8)
    assert get(store, "a") is None
    assert put(store, "a", values)
    found = get(store, "a")
    assert np.array_equal(found, values)
    assert found.ctypes.data % 64 == 0 or not count
    assert get(store, "b") is None


@pytest.mark.parametrize("count", [10, 1_000_000])
def test_arrays_may_be_written_to_and_the_file_stays(store, count):
    put(store, "a", np.arange(count))
    get(store, "a")[:] = 0
    assert np.array_equal(get(store, "a"), np.arange(count))


def test_many_entries_may_be_in_use_at_once(store):
    """More than a process may have files open."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    listed = Path("/proc/self/fd")
    open_now = len(list(listed.iterdir())) if listed.is_dir() else 100
    put(store, "small", np.arange(10))
    put(store, "large", np.arange(1_000_000))
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 20, limits[1]))
    try:
        held = [get(store, key) for _ in range(30) for key in ("small", "large")]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert all(array is not None for array in held)


@pytest.mark.parametrize("place", [0, 9, 20, 33, 40, -1, -4000, -400_000])
def test_an_entry_that_changed_by_a_bit_is_a_miss_and_goes(store, place):
    put(store, "a", np.random.default_rng(0).integers(0, 255, 500_000, np.uint8))
    (path,) = files(store)
    raw = bytearray(path.read_bytes())
    raw[place] ^= 16
    path.write_bytes(raw)
    assert get(store, "a") is None
    assert not files(store)
    assert put(store, "a", [1])
    assert get(store, "a").tolist() == [1]


@pytest.mark.parametrize("keep", [0, 10, 63, 200, 4000])
def test_an_entry_that_was_cut_short_is_a_miss_and_goes(store, keep):
    put(store, "a", np.zeros(1000))
    (path,) = files(store)
    os.truncate(path, keep)
    assert get(store, "a") is None
    assert not files(store)


def test_blocks_that_changed_places_are_seen(store):
    put(store, "a", np.arange(4096))
    (path,) = files(store)
    raw = path.read_bytes()
    path.write_bytes(raw[:-16384] + raw[-8192:] + raw[-16384:-8192])
    assert get(store, "a") is None


def test_another_keys_entry_is_a_miss(store):
    put(store, "a", [1])
    put(store, "b", [2])
    one, two = (store._path(key) for key in "ab")
    one.replace(two)
    assert get(store, "b") is None


def test_a_foreign_file_or_link_is_a_miss(store, tmp_path):
    store._path("a").write_bytes(b"something else" * 100)
    assert get(store, "a") is None
    (tmp_path / "elsewhere").write_bytes(b"secret")
    store._path("b").symlink_to(tmp_path / "elsewhere")
    assert get(store, "b") is None
    assert (tmp_path / "elsewhere").read_bytes() == b"secret"


def test_lru_makes_room_by_what_was_longest_not_read(tmp_path):
    store = FileStore(tmp_path, 10 * MB, "lru")
    for i in range(9):
        assert put(store, str(i), np.zeros(MB, np.uint8))
        time.sleep(0.002)
    assert get(store, "0") is not None
    time.sleep(0.002)
    assert put(store, "9", np.zeros(2 * MB, np.uint8))
    assert get(store, "0") is not None
    assert get(store, "1") is None
    assert get(store, "8") is not None
    assert store.nbytes <= 10 * MB


def test_stop_keeps_what_it_has(tmp_path):
    store = FileStore(tmp_path, 5 * MB, "stop")
    kept = [put(store, str(i), np.zeros(MB, np.uint8)) for i in range(8)]
    assert kept == [True] * 4 + [False] * 4  # headers take a little
    assert get(store, "0") is not None
    assert store.nbytes <= 5 * MB


def test_what_is_larger_than_the_bound_is_not_kept(tmp_path):
    store = FileStore(tmp_path, MB, "lru")
    put(store, "small", [1])
    assert not put(store, "large", np.zeros(MB, np.uint8))
    assert get(store, "small") is not None


def test_a_wrong_count_is_put_right(tmp_path):
    store = FileStore(tmp_path, 10 * MB, "lru")
    put(store, "a", np.zeros(MB, np.uint8))
    for text in ("", "rubbish", "99999999999"):
        (store.folder / "lock").write_text(text)
        assert put(store, text, np.zeros(MB, np.uint8))
    assert get(store, "a") is not None
    assert len(store) == 4


def test_nobody_else_can_read_it(tmp_path):
    previous = os.umask(0)
    try:
        store = FileStore(tmp_path / "cache", MB, "lru")
        put(store, "a", [1])
    finally:
        os.umask(previous)
    for path in (store.folder, *store.folder.rglob("*")):
        assert not stat.S_IMODE(path.lstat().st_mode) & 0o077, path
    store.folder.chmod(0o755)
    FileStore(tmp_path / "cache", MB, "lru")
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700


def test_a_folder_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "tfpetastorm-cache-1").symlink_to(tmp_path / "mine")
    with pytest.raises(OptionError, match="belongs to someone else"):
        FileStore(tmp_path / "cache", MB, "lru")


def test_without_its_folder_it_keeps_nothing(store):
    import shutil

    shutil.rmtree(store.folder)
    assert get(store, "a") is None
    assert not put(store, "a", [1])
    assert not store.folder.exists()


def run_child(tmp_path, body, **more):
    program = textwrap.dedent(
        """
        import os, signal, sys, time
        import numpy as np
        from tests.read.test_store import get, put
        from tfpetastorm.read.store import FileStore
        MB = 1 << 20
        """
    ) + textwrap.dedent(body)
    return subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True, **more)


def test_a_writer_that_was_killed_leaves_nothing_behind(tmp_path):
    store = FileStore(tmp_path, 10 * MB, "lru")
    child = run_child(
        tmp_path,
        """
        import tfpetastorm.read.store as store_module
        def stuck(handle, buffers):
            os.write(handle, b"x" * 1000)
            print("writing", flush=True)
            time.sleep(60)
        store_module._write = stuck
        put(FileStore(sys.argv[1], 10 * MB, "lru"), "a", np.zeros(3 * MB, np.uint8))
        """,
    )
    assert child.stdout.readline() == "writing\n"
    # While it lives, what it is going to take is counted and its file is left alone.
    FileStore(tmp_path, 10 * MB, "lru")
    assert len(list((store.folder / "written").iterdir())) == 1
    assert int((store.folder / "lock").read_text()) > 3 * MB
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert get(store, "a") is None
    again = FileStore(tmp_path, 10 * MB, "lru")
    assert not list((store.folder / "written").iterdir())
    for i in range(9):
        assert put(again, str(i), np.zeros(MB, np.uint8))
    assert len(again) == 9


def test_processes_share_it_and_keep_the_bound(tmp_path):
    """Four processes put and get the same keys at once: what is found is right, and the bound holds all the time."""
    limit = 4 * MB
    store = FileStore(tmp_path, limit, "lru")
    children = [
        run_child(
            tmp_path,
            f"""
            rng = np.random.default_rng({seed})
            store = FileStore(sys.argv[1], 4 * MB, "lru")
            hits = 0
            for _ in range(150):
                key = int(rng.integers(40))
                found = get(store, str(key))
                if found is None:
                    put(store, str(key), np.full(200_000 + key, key, np.uint8))
                else:
                    hits += 1
                    assert len(found) == 200_000 + key and (found == key).all()
            print(hits)
            """,
        )
        for seed in range(4)
    ]
    while any(child.poll() is None for child in children):
        with store._locked():  # nothing comes or goes for lack of room while it is looked at
            assert store.nbytes <= limit
        time.sleep(0.01)
    assert [child.returncode for child in children] == [0] * 4
    assert sum(int(child.communicate()[0]) for child in children) > 50
    assert store.nbytes <= limit
    assert int((store.folder / "lock").read_text()) == store.nbytes
    assert not list((store.folder / "written").iterdir())
