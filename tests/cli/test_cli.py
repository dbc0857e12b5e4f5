"""`tfpetastorm info` and `tfpetastorm head`, run as a user runs them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tfpetastorm as tps
from tfpetastorm.cli import main


class Ran:
    """What one call of the command line did."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    def values(self, name: str) -> list[str]:
        """The rest of each line that starts with `name`."""
        return [line.split(maxsplit=1)[1].strip() for line in self.out.splitlines() if line.split()[:1] == [name]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("COLUMNS", raising=False)

    def call(*arguments: object) -> Ran:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        return Ran(status, *capsys.readouterr())

    return call


@pytest.fixture
def drive(dataset_path: Path) -> Path:
    schema = tps.Unischema(
        "Drive",
        [
            tps.UnischemaField("id", np.int64),
            tps.UnischemaField("place", np.str_),
            tps.UnischemaField("speed", np.float64),
            tps.UnischemaField("price", Decimal, codec=tps.ScalarCodec("decimal(10, 2)")),
            tps.UnischemaField("label", np.int32, nullable=True),
            tps.UnischemaField("camera", np.uint8, (6, 8, 3), tps.CompressedImageCodec("png")),
            tps.UnischemaField("points", np.float32, (None, 3), tps.NdarrayCodec()),
            tps.UnischemaField("note", np.str_, nullable=True),
        ],
    )
    with tps.DatasetWriter(dataset_path, schema, row_group_rows=4, partition_by=["place"]) as writer:
        for i in range(20):
            writer.write(
                {
                    "id": i,
                    "place": "Bern" if i < 10 else "Genève",
                    "speed": i / 2,
                    "price": Decimal(i) / 4,
                    "label": i if i % 3 else None,
                    "camera": np.full((6, 8, 3), i, np.uint8),
                    "points": np.full((i, 3), i, np.float32),
                    "note": "x" * 500 if i == 2 else None if i == 3 else f"line {i}\n\x1b[31mred",
                }
            )
    return dataset_path


# ---------------------------------------------------------------- info


def test_info_of_a_dataset_of_ours(run, drive: Path) -> None:
    ran = run("info", drive)
    assert (ran.status, ran.err) == (0, "")
    assert ran.values("kind") == ["tfpetastorm dataset"]
    assert ran.values("rows") == ["20"]
    assert ran.values("partitioned") == ["by  place"]
    assert ran.values("petastorm") == ["can read it"]
    [camera] = ran.values("camera")
    assert camera.startswith("uint8 (6, 8, 3)")
    assert " png " in camera
    [label] = ran.values("label")
    assert " 7 " in label, "seven labels are null"
    assert "folder names" in ran.values("place")[0]


def test_info_as_json_holds_what_the_footers_say(run, drive: Path) -> None:
    ran = run("info", drive, "--json")
    facts = json.loads(ran.out)
    metadata = [pq.read_metadata(path) for path in drive.rglob("*.parquet")]
    chunks = [m.row_group(g).column(c) for m in metadata for g in range(m.num_row_groups) for c in range(m.num_columns)]
    assert facts["rows"] == facts["row_group_rows"]["total"] == 20
    assert facts["row_groups"] == sum(m.num_row_groups for m in metadata)
    assert facts["files"] == len(metadata)
    assert facts["file_bytes"]["total"] == sum(path.stat().st_size for path in drive.rglob("*.parquet"))
    assert facts["compressed_bytes"] == sum(chunk.total_compressed_size for chunk in chunks)
    assert facts["uncompressed_bytes"] == sum(chunk.total_uncompressed_size for chunk in chunks)
    fields = {field["name"]: field for field in facts["fields"]}
    assert list(fields) == ["id", "place", "speed", "price", "label", "camera", "points", "note"]
    for name in ("speed", "camera"):
        mine = [chunk for chunk in chunks if chunk.path_in_schema == name]
        assert fields[name]["compressed_bytes"] == sum(chunk.total_compressed_size for chunk in mine) > 0
        assert set(fields[name]["encodings"]) == {encoding for chunk in mine for encoding in chunk.encodings}
    assert fields["label"]["nulls"] == 7
    assert fields["points"]["shape"] == [None, 3]
    assert fields["place"] == fields["place"] | {"in_folder_names": True, "compressed_bytes": 0}
    assert facts["petastorm_reads_it"] is True
    assert facts["problems"] == []


@pytest.mark.parametrize(
    ("name", "kind", "rows"),
    [
        ("petastorm-0.13.1/types", "petastorm", 60),
        ("petastorm-0.13.1/drive_small", "petastorm", 120),
        ("petastorm-0.13.1/plain", "parquet", 40),
        ("petastorm-legacy/0.4.3", "petastorm", 100),
        ("petastorm-legacy/0.7.0", "petastorm", 100),
    ],
)
def test_info_and_head_of_what_others_wrote(run, golden: Path, name: str, kind: str, rows: int) -> None:
    facts = json.loads(run("info", golden / name, "--json").out)
    assert (facts["kind"], facts["rows"]) == (kind, rows)
    assert facts["petastorm_reads_it"] is (kind == "petastorm")
    shown = run("info", golden / name)
    for field in facts["fields"]:
        assert len(shown.values(field["name"])) == 1
    first = run("head", golden / name, "-n", 1)
    assert first.status == 0
    for field in facts["fields"]:
        assert field["name"] in first.out


def test_info_tells_of_row_group_indexes_and_of_stale_ones(run, golden: Path, tmp_path: Path) -> None:
    indexed = shutil.copytree(golden / "petastorm-0.13.1" / "indexed", tmp_path / "indexed")
    (told,) = run("info", indexed).values("indexes")
    assert told.startswith("by id (id: 40 values); by part (part: 2 values)")
    assert json.loads(run("info", indexed, "--json").out)["indexes"][-1] == "sparse? (sparse: not null)"
    tps.build_rowgroup_index(indexed, indexers=[tps.SingleFieldIndexer("mine", "name")])
    assert run("info", indexed).values("indexes") == ["mine (name: 10 values)"]
    (indexed / "_tfpetastorm_index.json").write_text("{}")
    assert "can't be read" in run("info", indexed).out


def test_info_says_why_petastorm_could_not_read_a_dataset(run, dataset_path: Path, drive: Path) -> None:
    other = dataset_path.parent / "tensors"
    schema = tps.Unischema("T", [tps.UnischemaField("weights", np.float32, (2,), tps.TensorCodec())])
    with tps.DatasetWriter(other, schema) as writer:
        writer.write({"weights": np.zeros(2, np.float32)})
    assert run("info", other).values("petastorm") == ["can't read it: weights: petastorm has no TensorCodec"]

    own = dataset_path.parent / "own"
    with tps.DatasetWriter(
        own, tps.Unischema("O", [tps.UnischemaField("x", np.int64)]), petastorm_compatible=False
    ) as w:
        w.write({"x": 1})
    assert "without petastorm's metadata" in run("info", own).values("petastorm")[0]


def test_lists_and_structs_of_plain_parquet_get_their_bytes(run, tmp_path: Path) -> None:
    table = pa.table({"xs": [[1.0, 2.0], [3.0]], "pair": [{"a": 1, "b": "x"}, {"a": 2, "b": None}], "ab": [1, 2]})
    pq.write_table(table, tmp_path / "plain.parquet")
    facts = json.loads(run("info", tmp_path / "plain.parquet", "--json").out)
    fields = {field["name"]: field for field in facts["fields"]}
    assert list(fields) == ["xs", "pair.a", "pair.b", "ab"]
    assert all(field["compressed_bytes"] > 0 for field in fields.values())
    assert sum(field["compressed_bytes"] for field in fields.values()) == facts["compressed_bytes"]
    assert fields["pair.b"]["nulls"] == 1
    assert fields["xs"]["nulls"] is None


def test_files_outside_the_committed_list_are_told(run, drive: Path) -> None:
    found = next(drive.rglob("*.parquet"))
    shutil.copy(found, found.with_name("stray.parquet"))
    ran = run("info", drive)
    assert ran.status == 0
    assert ran.err.startswith("tfpetastorm: warning: ")
    assert "stray.parquet" in ran.err
    assert ran.err.count("\n") == 1
    assert "Problem: " in ran.out
    assert ran.values("rows") == ["20"]


# ---------------------------------------------------------------- head


def test_rows_too_wide_for_a_table_are_blocks_of_decoded_cells(
    run, drive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    ran = run("head", drive, "-n", 4)
    assert (ran.status, ran.err) == (0, "")
    assert ran.values("id") == ["0", "1", "2", "3"]
    assert ran.values("place") == ["'Bern'"] * 4
    assert ran.values("price") == ["0.00", "0.25", "0.50", "0.75"]
    assert ran.values("label") == ["null", "1", "2", "null"]
    assert ran.values("camera")[2] == "uint8 (6, 8, 3) 2 … 2"
    assert ran.values("points") == ["float32 (0, 3) empty", *(f"float32 ({i}, 3) {i}.0 … {i}.0" for i in (1, 2, 3))]
    assert ran.values("note")[3] == "null"
    assert "(500 characters)" in ran.values("note")[2]


def test_head_never_passes_on_control_characters(run, drive: Path) -> None:
    out = run("head", drive, "-n", 1).out
    assert "\x1b" not in out
    assert r"'line 0\n\x1b[31mred'" in out


def test_head_has_five_rows_unless_told(run, drive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert len(run("head", drive).values("id")) == 5
    assert len(run("head", drive, "-n", 1000).values("id")) == 20


def test_rows_that_fit_are_a_table(run, drive: Path) -> None:
    ran = run("head", drive, "--fields", "speed, id", "-n", 3)
    assert [line.split() for line in ran.out.split("\n") if line.strip(" ─")] == [
        ["id", "speed"], ["0", "0.0"], ["1", "0.5"], ["2", "1.0"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("conditions", "ids"),
    [
        (["speed > 8"], [17, 18, 19]),
        (["speed>=8.5", "id != 18"], [17, 19]),
        (["id in [3, 11]"], [3, 11]),
        (["id not in (3,)", "id < 5"], [0, 1, 2, 4]),
        (["label = null", "id > 10"], [12, 15, 18]),
        (["label != null", "id <= 2"], [1, 2]),
        (["place == Genève", "id < 12"], [10, 11]),
        (["place = 'Bern'", "id > 8"], [9]),
        (["place in [Genève, Basel]", "id < 11"], [10]),
        (["price = 0.5"], [2]),
        (["note = 'line 5\\n\\x1b[31mred'"], [5]),
        (["speed > 1000"], []),
    ],
)
def test_conditions(run, drive: Path, conditions: list[str], ids: list[int]) -> None:
    arguments = [part for condition in conditions for part in ("--where", condition)]
    ran = run("head", drive, "-n", 50, "--fields", "id", *arguments)
    assert ran.status == 0, ran.err
    shown = [int(line) for line in ran.out.split() if line.isdigit()]
    assert shown == ids
    assert ids or "No rows." in ran.out


def test_unknown_codecs_are_shown_as_bytes(run, tmp_path: Path) -> None:
    from tests.cli.own_codec import Reversed

    with tps.DatasetWriter(
        tmp_path / "own", tps.Unischema("O", [tps.UnischemaField("x", np.str_, (), Reversed())])
    ) as writer:
        writer.write({"x": "abc"})
    assert "b'cba'" in run("head", tmp_path / "own").out
    assert "unknown: reversed" in run("info", tmp_path / "own").out


# ---------------------------------------------------------------- contact sheets


def test_a_contact_sheet_holds_the_pixels(run, drive: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    ran = run("head", drive, "--images", out, "--fields", "camera,id", "--where", "id >= 16")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.split() == [f"{out}:", "4", "images", "of", "camera"]
    sheet = cv2.imread(str(out), cv2.IMREAD_COLOR)
    assert sheet is not None
    for shade in (16, 17, 18, 19):
        area = int((sheet == shade).all(axis=2).sum())
        assert area >= 120 * 160, "each image is drawn whole, 20 times as large"
    assert int((sheet < 100).all(axis=2).sum()) > 4 * 120 * 160 + 50, "there are captions"


@pytest.mark.parametrize("field", ["png", "grey", "depth", "jpeg", "opt_mat", "points"])
def test_every_kind_of_image_can_be_drawn(run, golden: Path, tmp_path: Path, field: str) -> None:
    out = tmp_path / "sheet.png"
    ran = run("head", golden / "petastorm-0.13.1/types", "--images", out, "--image-field", field, "-n", 7)
    assert ran.status == 0, ran.err
    assert cv2.imread(str(out)).std() > 5


def test_colours_are_not_swapped(run, tmp_path: Path) -> None:
    schema = tps.Unischema("Red", [tps.UnischemaField("image", np.uint8, (8, 8, 3), tps.CompressedImageCodec("png"))])
    with tps.DatasetWriter(tmp_path / "red", schema) as writer:
        writer.write({"image": np.broadcast_to(np.array([255, 0, 0], np.uint8), (8, 8, 3))})
    run("head", tmp_path / "red", "--images", tmp_path / "sheet.png")
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert int((sheet == [0, 0, 255]).all(axis=2).sum()) == 160 * 160


def test_a_dataset_without_images_says_so(run, golden: Path, tmp_path: Path) -> None:
    ran = run("head", golden / "petastorm-0.13.1/plain", "--images", tmp_path / "sheet.png")
    assert ran.status == 2
    assert "no field of images" in ran.err
    assert not (tmp_path / "sheet.png").exists()


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["info", "{tmp}/nowhere"], ["there is no", "nowhere"]),
        (["info", "{tmp}/*.parq"], ["nothing matches"]),
        (["info", "odd://bucket/data"], ["odd"]),
        (["info", "hdfs://nowhere.invalid/data"], ["hdfs", "libhdfs"]),
        (["head", "{tmp}/text.parquet"], ["text.parquet", "Parquet"]),
        (["head", "{drive}", "--where", "speeed > 2"], ["speeed", "'speed'"]),
        (["head", "{drive}", "--where", "fast"], ["fast", "--where"]),
        (["head", "{drive}", "--where", "id in 3"], ["list"]),
        (["head", "{drive}", "--where", "speed > fast"], ["speed", "fast"]),
        (["head", "{drive}", "--fields", "cam"], ["cam", "camera"]),
        (["head", "{drive}", "--images", "{tmp}/a.png", "--image-field", "speed"], ["speed", "no image"]),
        (["head", "{drive}", "--images", "{tmp}/no/a.png"], ["can't be written"]),
        (["head", "{drive}", "--images", "{tmp}/a.txt"], [".png"]),
    ],
)
def test_an_error_is_one_line_and_status_2(
    run, drive: Path, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    (tmp_path / "text.parquet").write_text("this is no Parquet, but long enough to look")
    ran = run(*(argument.format(tmp=tmp_path, drive=drive) for argument in arguments))
    assert ran.status == 2
    assert ran.out == ""
    assert ran.err.startswith("tfpetastorm: error: ")
    assert ran.err.count("\n") == 1
    for word in words:
        assert word in ran.err


def test_a_damaged_cell_names_field_file_and_row(run, drive: Path) -> None:
    file = sorted(drive.rglob("*.parquet"))[0]
    table = pq.read_table(file, partitioning=None)
    cells = table["camera"].to_pylist()
    cells[1] = b"not an image"
    table = table.set_column(table.schema.get_field_index("camera"), "camera", pa.array(cells, pa.binary()))
    pq.write_table(table, file, row_group_size=4)
    ran = run("head", drive)
    assert ran.status == 2
    for word in ("camera", file.name, "row 1"):
        assert word in ran.err


def test_traceback_on_request(drive: Path) -> None:
    with pytest.raises(tps.DatasetError):
        main(["info", str(drive / "nowhere"), "--traceback"])


@pytest.mark.parametrize("arguments", [["info"], ["head", "x", "-n", "0"], ["tail", "x"], []])
def test_wrong_arguments_are_told_with_status_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: tfpetastorm" in capsys.readouterr().err


# ---------------------------------------------------------------- as a program


def test_as_a_module_without_tensorflow(drive: Path) -> None:
    code = (
        "import sys; sys.modules['tensorflow'] = None; from tfpetastorm.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    for command in (["-c", code], ["-W", "error", "-m", "tfpetastorm"]):
        done = subprocess.run(
            [sys.executable, *command, "head", str(drive), "-n", "1"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "Bern" in done.stdout
        assert done.stderr == ""


def test_output_that_nobody_reads_any_more_is_no_error(drive: Path) -> None:
    command = f"{sys.executable} -m tfpetastorm head {drive} -n 20 | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode == 0
    assert "row 0" in done.stdout


def test_a_terminal_that_knows_only_ascii(drive: Path) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "tfpetastorm", "head", str(drive), "--where", "id=11"],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "id" in done.stdout
