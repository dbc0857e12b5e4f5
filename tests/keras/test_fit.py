"""`tps.keras.fit` within one process: interruptions are exceptions from a callback."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

import tfpetastorm as tps
from tfpetastorm.errors import DamagedDataError, DatasetWarning, OptionError, PositionError

ROWS, BATCH, EPOCHS = 83, 8, 3
STEPS = 11

# tf_keras 2.16, of its own.
pytestmark = pytest.mark.filterwarnings("ignore:non-integer arguments to randrange:DeprecationWarning")


class InterruptionError(Exception):
    """Stands for a crash."""


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("fit")
    ids = np.arange(ROWS)
    x = (ids / ROWS).astype(np.float32)
    pq.write_table(pa.table({"id": ids, "x": x, "y": 3 * x - 1}), folder / "x.parquet", row_group_size=10)
    return str(folder)


@pytest.fixture(params=["keras", "tf_keras"])
def library(request) -> Any:
    return importlib.import_module(request.param)


@pytest.fixture
def keras() -> Any:
    return importlib.import_module("keras")


def make(url: str, **options: Any) -> Any:
    common = {"fields": ["id", "x"], "label": "y", "batch_size": BATCH, "pool": "inline"}
    return tps.make_dataset(url, **{**common, "shuffle": tps.Shuffle(block_rows=30), "seed": 7, **options})


def model_of(library: Any, optimizer: Any = None, units: int = 4, dropout: float = 0.0, **compiling: Any) -> Any:
    """A model that notes the ids of each step in `trained`, and how often it was evaluated in `tested`."""

    class Recorder(library.Model):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = library.layers.Dense(units)
            self.dropout = library.layers.Dropout(dropout)
            self.line = library.layers.Dense(1)
            self.trained: list[tuple[int, ...]] = []
            self.tested = 0

        def call(self, features, training=False):
            return self.line(self.dropout(self.hidden(features["x"][:, None]), training=training))

        def train_step(self, data):
            tf.numpy_function(self.note_training, [data[0]["id"]], tf.int64)
            return super().train_step(data)

        def test_step(self, data):
            tf.numpy_function(self.note_test, [], tf.int64)
            return super().test_step(data)

        def note_training(self, ids):
            self.trained.append(tuple(ids.tolist()))
            return np.int64(0)

        def note_test(self):
            self.tested += 1
            return np.int64(0)

    library.utils.set_random_seed(1)
    model = Recorder()
    model.compile(library.optimizers.Adam(0.01) if optimizer is None else optimizer, "mse", **compiling)
    return model


def watcher(library: Any, die_after: int | None = None, stop_after: int | None = None) -> Any:
    """A callback that notes what is called, and raises or stops after so many steps."""

    class Watcher(library.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.calls: list[Any] = []
            self.steps = 0

        def on_train_begin(self, logs=None):
            self.calls.append("begin")

        def on_train_end(self, logs=None):
            self.calls.append("end")

        def on_epoch_begin(self, epoch, logs=None):
            self.calls.append(epoch)

        def on_epoch_end(self, epoch, logs=None):
            self.calls.append(-epoch)

        def on_train_batch_end(self, batch, logs=None):
            self.steps += 1
            if self.steps == stop_after:
                self.model.stop_training = True
            if self.steps == die_after:
                raise InterruptionError

    return Watcher()


def state(model: Any) -> list[bytes]:
    return [np.asarray(v.numpy()).tobytes() for v in (*model.variables, *model.optimizer.variables)]


def train(url: str, library: Any, folder: Path, deaths: tuple[int, ...] = (), **options: Any) -> tuple[Any, Any, list]:
    """Trains with a process, as it were, for each death and one more: the last model, its history, all steps' ids."""
    making = options.pop("making", {})
    compiling = {name: options.pop(name)() for name in ("optimizer",) if name in options}
    compiling |= {name: options.pop(name) for name in ("dropout", "steps_per_execution") if name in options}
    seen = []
    for after in (*deaths, None):
        optimizer = compiling.get("optimizer")
        if optimizer is not None:
            compiling["optimizer"] = type(optimizer).from_config(optimizer.get_config())
        model = model_of(library, **compiling)
        callbacks = [watcher(library, after)]
        arguments = {"epochs": EPOCHS, "directory": folder, "verbose": 0, "callbacks": callbacks, **options}
        if after is None:
            history = tps.keras.fit(model, make(url, **making), **arguments)
        else:
            with pytest.raises(InterruptionError):
                tps.keras.fit(model, make(url, **making), **arguments)
        seen.append(model.trained)
    return model, history, seen


@pytest.mark.parametrize("save_every", [1, 4, None])
def test_what_comes_out_is_what_an_uninterrupted_run_gives(url, library, tmp_path, save_every):
    whole, history, [steps] = train(url, library, tmp_path / "a", save_every=save_every)
    assert history.epoch == [0, 1, 2]
    assert [sorted(i for ids in steps[e * STEPS : (e + 1) * STEPS] for i in ids) for e in range(3)] == [
        [*range(ROWS)]
    ] * 3
    assert len({tuple(steps[e * STEPS : (e + 1) * STEPS]) for e in range(3)}) == 3
    # In the first epoch, at its last step, and in the second.
    again, history, seen = train(url, library, tmp_path / "b", (5, 8, 9, 1), save_every=save_every)
    assert state(again) == state(whole)
    effective: list[Any] = []
    for ids in seen:
        begin = steps.index(ids[0])
        assert begin <= len(effective), "a step was left out"
        assert len(effective) - begin <= (save_every or STEPS), "more was made again than lies between two saves"
        effective = effective[:begin] + ids
    assert effective == steps
    assert history.epoch[-1] == 2


def test_seeds_of_layers_are_saved(url, keras, tmp_path):
    whole, _, _ = train(url, keras, tmp_path / "a", dropout=0.5)
    again, _, _ = train(url, keras, tmp_path / "b", (7, 6), dropout=0.5, save_every=3)
    assert state(again) == state(whole)


def test_averaged_weights_replace_others_only_at_the_end(url, library, tmp_path):
    def optimizer():
        return library.optimizers.SGD(0.1, momentum=0.9, use_ema=True, ema_momentum=0.9)

    whole, _, _ = train(url, library, tmp_path / "a", optimizer=optimizer)
    again, _, _ = train(url, library, tmp_path / "b", (7, 9), optimizer=optimizer, save_every=3)
    assert state(again) == state(whole)
    done, history, _ = train(url, library, tmp_path / "b", optimizer=optimizer)
    assert state(done) == state(whole)
    assert not history.history
    # As Keras has it: no averages are taken over in between.
    plain = model_of(library, optimizer())
    plain.fit(make(url, epochs=EPOCHS), epochs=EPOCHS, steps_per_epoch=STEPS, verbose=0, shuffle=False)
    assert state(plain) == state(whole)


def test_several_steps_in_one_execution(url, keras, tmp_path):
    """11 steps are executed as 4, 4 and 3."""
    whole, _, [steps] = train(url, keras, tmp_path / "a", steps_per_execution=4, save_every=1)
    assert len(steps) == 3 * STEPS
    # A watcher is called once an execution.
    again, _, seen = train(url, keras, tmp_path / "b", (2, 4), steps_per_execution=4, save_every=1)
    assert [steps.index(ids[0]) for ids in seen] == [0, 4, 15]
    assert state(again) == state(whole)


def test_callbacks_see_one_training_and_the_right_epochs(url, library, tmp_path):
    watch = watcher(library)
    model = model_of(library)
    arguments = {"directory": tmp_path, "verbose": 0, "validation_data": make(url, shuffle=False), "save_every": 4}
    history = tps.keras.fit(model, make(url), epochs=2, callbacks=[watch], **arguments)
    assert watch.calls == ["begin", 0, 0, 1, -1, "end"]
    assert (model.tested, len(history.history["val_loss"])) == (2 * STEPS, 2)
    with pytest.raises(InterruptionError):
        tps.keras.fit(model_of(library), make(url), epochs=5, callbacks=[watcher(library, 2 + STEPS)], **arguments)
    watch, model = watcher(library), model_of(library)
    history = tps.keras.fit(model, make(url), epochs=5, callbacks=[watch], **arguments)
    # The interrupted one is validated when it is whole.
    assert watch.calls == ["begin", 3, -3, 4, -4, "end"]
    assert (history.epoch, model.tested) == ([3, 4], 2 * STEPS)


def test_an_epoch_is_validated_where_a_crash_came_just_then(url, keras, tmp_path):
    class Dying(keras.callbacks.Callback):
        def on_test_begin(self, logs=None):
            raise InterruptionError

    arguments = {"epochs": 1, "directory": tmp_path, "verbose": 0, "validation_data": make(url), "save_every": 1}
    with pytest.raises(InterruptionError):
        tps.keras.fit(model_of(keras), make(url), callbacks=[Dying()], **arguments)
    model = model_of(keras)
    history = tps.keras.fit(model, make(url), **arguments)
    assert (len(model.trained), model.tested) == (1, STEPS)
    assert "val_loss" in history.history


def test_training_that_was_stopped_goes_on_where_it_was(url, library, tmp_path):
    whole, _, [steps] = train(url, library, tmp_path / "a")
    first = model_of(library)
    stop = watcher(library, stop_after=STEPS + 3)
    history = tps.keras.fit(
        first, make(url), epochs=EPOCHS, directory=tmp_path / "b", verbose=0, callbacks=[stop], save_every=None
    )
    assert (len(first.trained), history.epoch, stop.calls[-1]) == (STEPS + 3, [0, 1], "end")
    again, _, [rest] = train(url, library, tmp_path / "b")
    assert first.trained + rest == steps
    assert state(again) == state(whole)


def test_a_learning_rate_that_a_callback_changed_is_saved(url, library, tmp_path):
    class Halving(library.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.optimizer.learning_rate.assign(0.005)

    first = model_of(library)
    tps.keras.fit(first, make(url), epochs=2, directory=tmp_path, verbose=0, callbacks=[Halving()])
    again = model_of(library)
    tps.keras.fit(again, make(url), epochs=2, directory=tmp_path, verbose=0)
    assert float(again.optimizer.learning_rate.numpy()) == pytest.approx(0.005)


def test_a_dataset_is_prepared_and_may_begin_at_a_position(url, keras, tmp_path):
    def prepare(dataset):
        return dataset.map(lambda features, label: (features, label * 2)).prefetch(2)

    start = tps.position(make(url), 4)
    making = {"start": start}
    whole, _, [steps] = train(url, keras, tmp_path / "a", making=making, prepare=prepare)
    assert len(steps) == 3 * STEPS - 4
    again, _, seen = train(url, keras, tmp_path / "b", (5, 3), making=making, prepare=prepare, save_every=2)
    assert state(again) == state(whole)
    assert [steps.index(ids[0]) for ids in seen] == [0, 4, 6]


def test_a_seed_that_nobody_chose_goes_on(url, keras, tmp_path):
    _, _, seen = train(url, keras, tmp_path, (STEPS + 4,), making={"seed": None}, save_every=1)
    # 14 steps were saved; the rest of the second epoch has just the rows that were missing.
    trained = seen[0][: STEPS + 3] + seen[1]
    for epoch in range(EPOCHS):
        assert sorted(i for ids in trained[epoch * STEPS : (epoch + 1) * STEPS] for i in ids) == [*range(ROWS)]


def test_damaged_saves_are_passed_over(url, keras, tmp_path):
    whole, _, _ = train(url, keras, tmp_path, save_every=4)
    newest = max(tmp_path.iterdir())
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    (tmp_path / ".save-x.unfinished").write_bytes(b"half")
    with pytest.warns(DatasetWarning, match=newest.name):
        again, history, [rest] = train(url, keras, tmp_path, save_every=4)
    assert (len(rest), history.epoch) == (3, [2])
    assert state(again) == state(whole)
    assert len([*tmp_path.iterdir()]) == 2
    for path in tmp_path.iterdir():
        path.write_bytes(b"PK")
    with pytest.warns(DatasetWarning), pytest.raises(DamagedDataError, match="All saves"):
        train(url, keras, tmp_path)


@pytest.mark.parametrize(("keep", "names"), [(1, ["save-000001-000000000.zip"]), (3, None)])
def test_the_newest_saves_are_kept(url, keras, tmp_path, keep, names):
    tps.keras.fit(model_of(keras), make(url), epochs=1, directory=tmp_path, verbose=0, save_every=2, keep=keep)
    found = sorted(path.name for path in tmp_path.iterdir())
    assert len(found) == keep
    assert found == names or names is None


@pytest.mark.parametrize(
    ("making", "message"),
    [
        ({"seed": 8}, r"seed \(was 7, is 8\)"),
        ({"shuffle": False}, "shuffle"),
        ({"fields": ["x"]}, "fields"),
        ({"where": [("id", ">", 3)]}, "where"),
    ],
)
def test_another_order_is_refused_by_name(url, keras, tmp_path, making, message):
    train(url, keras, tmp_path, (3,), epochs=1, save_every=1)
    with pytest.raises(PositionError, match=message):
        tps.keras.fit(model_of(keras), make(url, **making), epochs=1, directory=tmp_path, verbose=0)


@pytest.mark.parametrize("built", [False, True])
def test_another_model_is_refused_by_variable(url, library, tmp_path, built):
    tps.keras.fit(model_of(library), make(url), epochs=1, directory=tmp_path, verbose=0)
    for model in (model_of(library, units=5), model_of(library, library.optimizers.SGD(0.1))):
        if built:
            model.fit(make(url).take(1), verbose=0, shuffle=False)
        before = [value.tobytes() for value in model.get_weights()]
        with pytest.raises(OptionError, match=r"variable \d+ differs: expected .*, found .*another directory="):
            tps.keras.fit(model, make(url), epochs=2, directory=tmp_path, verbose=0)
        assert not built or [value.tobytes() for value in model.get_weights()] == before


@pytest.mark.parametrize(
    ("making", "options", "message"),
    [
        ({"epochs": 2}, {}, "epochs=2"),
        ({"epochs": None}, {}, "endless"),
        ({"epoch": 3}, {}, "without epoch="),
        ({}, {"steps_per_epoch": 3, "initial_epoch": 1}, "initial_epoch, steps_per_epoch"),
        ({}, {"epochs": -1}, "epochs"),
        ({}, {"save_every": 0}, "save_every"),
        ({}, {"keep": 0}, "keep"),
        ({}, {"prepare": lambda dataset: dataset.take(3)}, "dataset has 11 in this epoch, .* 3"),
        ({}, {"prepare": lambda dataset: dataset.repeat()}, "endlessly many"),
    ],
)
def test_what_can_not_work_is_refused(url, keras, tmp_path, making, options, message):
    with pytest.raises(OptionError, match=message):
        tps.keras.fit(
            model_of(keras), make(url, **making), **{"epochs": 2, "directory": tmp_path, "verbose": 0, **options}
        )
    assert not list(tmp_path.iterdir())


def test_a_dataset_that_loses_elements_unseen_is_noticed(url, keras, tmp_path):
    with pytest.raises((OptionError, tf.errors.OpError), match="11"):
        tps.keras.fit(
            model_of(keras), make(url), epochs=1, directory=tmp_path, verbose=0,
            prepare=lambda dataset: dataset.filter(lambda features, label: label[0] > 0),
        )  # fmt: skip


def test_only_models_and_datasets_of_ours_are_taken(url, keras, tmp_path):
    model = model_of(keras)
    with pytest.raises(OptionError, match="no dataset of make_dataset"):
        tps.keras.fit(model, make(url).prefetch(1), epochs=1, directory=tmp_path)
    with pytest.raises(OptionError, match="A mix has no position"):
        tps.keras.fit(model, tps.mix([make(url), make(url)], [1, 1], seed=1), epochs=1, directory=tmp_path)
    with pytest.raises(OptionError, match="keras or tf_keras, not dict"):
        tps.keras.fit({}, make(url), epochs=1, directory=tmp_path)
    with pytest.raises(OptionError, match="compiled"):
        tps.keras.fit(keras.Sequential([keras.layers.Dense(1)]), make(url), epochs=1, directory=tmp_path)
