"""How `run_fn` and `tuner_fn` read Unischema Parquet: `with_data_accessor` under TFX's Trainer and Tuner, or ours."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.components.trainer import executor as trainer
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.components.tuner import executor as tuner
from tfx.types import standard_artifacts
from tfx_bsl.tfxio import dataset_options

import tfpetastorm as tps
from tests.tfx import kinds
from tests.tfx.generating import generate, schema_of, splits
from tfpetastorm.errors import TfpetastormError
from tfpetastorm.tfmd import unischema_to_schema
from tfpetastorm.tfx import TrainerExecutor, TunerExecutor, UnischemaExampleGen, UnischemaTuner, with_data_accessor

FIELDS = [
    kinds.Field("row", np.int32),
    kinds.Field("halves", np.float32, (2,), kinds.HalvesCodec()),
    kinds.Field("maybe", np.int8, nullable=True),
    kinds.Field("word", np.str_),
]
ROWS = {
    split: [
        {"row": at, "halves": np.float32([at, at / 2]), "maybe": None if at % 3 else at, "word": "ab"[at % 2]}
        for at in range(count)
    ]
    for split, count in (("train", 20), ("eval", 7))
}
SCHEMA = unischema_to_schema(tps.Unischema("Rows", FIELDS))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("accessor") / "data"
    for split, rows in ROWS.items():
        kinds.write_split(folder / f"Split-{split}", rows, FIELDS)
    return folder


def patterns(data: Path, split: str) -> list[str]:
    return [str(data / f"Split-{split}" / "*")]


def rows(dataset: Any, name: str) -> list[Any]:
    cells: list[Any] = []
    for element in dataset:
        tensor = (element[0] if isinstance(element, tuple) else element)[name]
        cells += tensor.to_list() if isinstance(tensor, tf.RaggedTensor) else tensor.numpy().tolist()
    return cells


def once(**options: Any) -> Any:
    return dataset_options.TensorFlowDatasetOptions(**{"batch_size": 4, "num_epochs": 1, "shuffle": False} | options)


def test_it_reads_what_the_schema_says_and_leaves_fn_args_alone(data: Path) -> None:
    fn_args = FnArgs(train_files=patterns(data, "train"), custom_config={"a": 1})
    changed = with_data_accessor(fn_args, codecs=[kinds.HalvesCodec])
    assert fn_args.data_accessor is None
    assert type(changed) is FnArgs
    assert changed.train_files == fn_args.train_files
    assert changed.custom_config == {"a": 1}
    dataset = changed.data_accessor.tf_dataset_factory(changed.train_files, once(), SCHEMA)
    assert dataset.element_spec["halves"].shape.as_list() == [None, 2]
    assert rows(dataset, "row") == list(range(20))
    assert rows(dataset, "halves") == [[at, at / 2] for at in range(20)]
    assert rows(dataset, "maybe") == [[] if at % 3 else [at] for at in range(20)]
    labelled = changed.data_accessor.tf_dataset_factory(changed.train_files, once(label_key="row"), SCHEMA)
    (features, label), *_ = labelled
    assert sorted(features) == ["halves", "maybe", "word"]
    assert label.numpy().tolist() == [0, 1, 2, 3]


def test_a_schema_of_some_features_reads_these(data: Path) -> None:
    """A proto that TFDV infers of tf.Examples, without our annotations; and none."""
    some = text_format.Parse(
        'feature { name: "word" type: BYTES presence { min_fraction: 1.0 } shape { dim { size: 1 } } }',
        schema_pb2.Schema(),
    )
    read = with_data_accessor(FnArgs()).data_accessor.tf_dataset_factory
    dataset = read(patterns(data, "eval"), once(), some)
    assert rows(dataset, "word") == [[b"ab"[at % 2 : at % 2 + 1]] for at in range(7)]
    assert sorted(dataset.element_spec) == ["word"]
    own = with_data_accessor(FnArgs(), [kinds.HalvesCodec]).data_accessor.tf_dataset_factory
    assert sorted(own(patterns(data, "eval"), once(), None).element_spec) == ["halves", "maybe", "row", "word"]


def test_record_batches_are_of_lists(data: Path) -> None:
    fn_args = with_data_accessor(FnArgs(), [kinds.HalvesCodec])
    options = dataset_options.RecordBatchesOptions(batch_size=5, num_epochs=1, shuffle=False)
    batches = list(fn_args.data_accessor.record_batch_factory(patterns(data, "eval"), options, SCHEMA))
    assert [batch.num_rows for batch in batches] == [5, 2]
    assert batches[0]["maybe"].to_pylist() == [[0], None, None, [3], None]


def test_both_splits_may_be_read_at_once(data: Path) -> None:
    read = with_data_accessor(FnArgs(), [kinds.HalvesCodec]).data_accessor.tf_dataset_factory
    found = rows(read([*patterns(data, "train"), *patterns(data, "eval")], once(), SCHEMA), "row")
    assert sorted(found) == sorted([*range(20), *range(7)])


def test_the_spans_of_a_window_are_read_together(tmp_path: Path) -> None:
    """Linked files have their schema above them, in each artifact its own; an array's own bytes would pass for text."""
    schema = tps.Unischema(
        "Words", [kinds.Field("row", np.int32), kinds.Field("words", np.str_, (None,), tps.NdarrayCodec())]
    )
    with tps.DatasetWriter(tmp_path / "data" / "rows", schema) as writer:
        for at in range(3):
            writer.write({"row": at, "words": np.array(["a", "b"][:at], np.str_)})
    given = splits(train="rows/*", eval="rows/*")
    spans = [
        generate(UnischemaExampleGen(str(tmp_path / "data"), input_config=given), tmp_path / "spans" / name)
        for name in ("1", "2")
    ]
    files = [pattern for span in spans for pattern in patterns(Path(span.uri), "train")]
    read = with_data_accessor(FnArgs()).data_accessor.tf_dataset_factory
    dataset = read(files, once(), schema_of(spans, tmp_path / "schema"))
    assert rows(dataset, "row") == [0, 1, 2] * 2
    assert rows(dataset, "words") == [[], [b"a"], [b"a", b"b"]] * 2


def test_a_schema_that_contradicts_the_data_names_the_feature(data: Path) -> None:
    wrong = schema_pb2.Schema()
    wrong.CopyFrom(SCHEMA)
    wrong.feature[3].type = schema_pb2.FLOAT
    read = with_data_accessor(FnArgs(), [kinds.HalvesCodec]).data_accessor.tf_dataset_factory
    with pytest.raises(TfpetastormError, match="'word'"):
        read(patterns(data, "train"), once(), wrong)


#: What the functions that TFX imports from this module saw.
SEEN: dict[str, Any] = {}


def run_fn(fn_args: Any) -> None:
    given = fn_args.data_accessor
    if "codecs" not in (fn_args.custom_config or {}):
        fn_args = with_data_accessor(fn_args, codecs=[kinds.HalvesCodec])
        assert fn_args.data_accessor is not given
    schema = text_format.Parse(Path(fn_args.schema_path).read_text(), schema_pb2.Schema())
    for split, files in (("train", fn_args.train_files), ("eval", fn_args.eval_files)):
        SEEN[split] = rows(fn_args.data_accessor.tf_dataset_factory(files, once(), schema), "halves")
    if fn_args.serving_model_dir:
        Path(fn_args.serving_model_dir).mkdir(parents=True)


class OneTrial:
    """As much of a tuner as Tuner's executor asks for."""

    tuner_id, oracle = "one", type("Oracle", (), {"max_trials": 1, "get_best_trials": lambda self, count: []})()

    def search_space_summary(self) -> None: ...

    results_summary = search_space_summary

    def search(self, **options: Any) -> None: ...

    def get_best_hyperparameters(self) -> list[Any]:
        return [type("Parameters", (), {"get_config": lambda self: {}})()]


def tuner_fn(fn_args: Any) -> Any:
    run_fn(fn_args)
    return type("Result", (), {"tuner": OneTrial(), "fit_kwargs": {}})()


@pytest.fixture
def inputs(data: Path, tmp_path: Path) -> Iterator[dict[str, Any]]:
    SEEN.clear()
    yield {
        "examples": [kinds.parquet_artifact(data, ["train", "eval"])],
        "schema": [kinds.schema_artifact(tmp_path / "schema", SCHEMA)],
    }
    assert {split: sorted(found) for split, found in SEEN.items()} == {
        split: sorted(row["halves"].tolist() for row in expected) for split, expected in ROWS.items()
    }


PROPERTIES = {"train_args": '{"num_steps": 1}', "eval_args": '{"num_steps": 1}'}
OURS = PROPERTIES | {"codecs": '["tests.tfx.kinds:HalvesCodec"]', "custom_config": json.dumps({"codecs": True})}


def outputs(tmp_path: Path, **kinds_: Any) -> dict[str, Any]:
    made = {}
    for name, kind in kinds_.items():
        made[name] = [kind()]
        made[name][0].uri = str(tmp_path / name)
        Path(made[name][0].uri).mkdir()
    return made


@pytest.mark.parametrize(
    ("kind", "properties"), [(trainer.GenericExecutor, PROPERTIES), (TrainerExecutor, OURS)], ids=["theirs", "ours"]
)
def test_run_fn(kind: Any, properties: dict[str, str], inputs: dict[str, Any], tmp_path: Path) -> None:
    made = outputs(tmp_path, model=standard_artifacts.Model, model_run=standard_artifacts.ModelRun)
    kind(kind.Context(tmp_dir=str(tmp_path / "tmp"), unique_id="1")).Do(
        inputs, made, properties | {"run_fn": f"{__name__}.run_fn"}
    )


@pytest.mark.parametrize(
    ("kind", "properties"), [(tuner.Executor, PROPERTIES), (TunerExecutor, OURS)], ids=["theirs", "ours"]
)
def test_tuner_fn(kind: Any, properties: dict[str, str], inputs: dict[str, Any], tmp_path: Path) -> None:
    made = outputs(
        tmp_path,
        best_hyperparameters=standard_artifacts.HyperParameters,
        tuner_results=standard_artifacts.TunerResults,
    )
    kind(kind.Context(tmp_dir=str(tmp_path / "tmp"), unique_id="1")).Do(
        inputs, made, properties | {"tuner_fn": f"{__name__}.tuner_fn"}
    )
    assert UnischemaTuner.EXECUTOR_SPEC.executor_class is TunerExecutor


def test_transform_graphs_need_no_package_of_tfx() -> None:
    code = (
        "import sys; import tfpetastorm.tfx as t; t.apply_transform_graph; t.export_with_transform;"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'tfx', 'tfx_bsl', 'tensorflow_transform',"
        "'apache_beam', 'tensorflow_metadata'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "[]\n"
