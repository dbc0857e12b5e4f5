"""`fit`: trains a Keras model so that a crash costs a few steps and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfpetastorm.errors import OptionError, PositionError
from tfpetastorm.keras.saves import Save, Saves
from tfpetastorm.keras.state import TrainingState, package_of
from tfpetastorm.plan.numbers import whole_number
from tfpetastorm.plan.position import Position
from tfpetastorm.tfdata.dataset import _handle, close, position

_SAVE_EVERY = 500

#: Arguments of Keras' `fit` that would contradict the dataset, or where the run is.
_OURS = ("x", "y", "sample_weight", "batch_size", "shuffle", "validation_split", "initial_epoch", "steps_per_epoch")


def fit(
    model: Any,
    dataset: Any,
    *,
    epochs: int,
    directory: str | Path,
    save_every: int | None = _SAVE_EVERY,
    keep: int = 2,
    prepare: Callable[[Any], Any] | None = None,
    callbacks: Sequence[Any] | None = None,
    validation_data: Any = None,
    verbose: Any = "auto",
    **options: Any,
) -> Any:
    """Trains `model` up to `epochs` epochs, saving it with the position in the dataset as it goes; the same call in a
    new process goes on from the newest save.

    What comes out is what an uninterrupted run gives, to the bit where TensorFlow's ops are deterministic: weights, the
    optimizer, seeds of layers (Keras 3) and the position are saved together, in one file that is there as a whole or
    not at all. Steps after the last save are made again.

    Args:
        model: a compiled model of Keras 3 or `tf_keras`. Under a strategy, made in its scope, as is the dataset.
        dataset: of `make_dataset` with `epochs=1`, as it is returned: `prepare` has what is to be done with it. It is
            not iterated itself, so `tfpetastorm.stats` of it counts nothing.
        epochs: as in Keras, the number of the epoch to stop before, those of earlier processes counted too.
        directory: a local or mounted folder for the saves of this run alone. All workers of a strategy need it; one
            of them writes.
        save_every: steps from one save to the next within an epoch; None saves at the end of each epoch only.
        keep: how many saves are kept.
        prepare: a function from a dataset to that which Keras gets: maps, prefetching. It has to keep elements as
            many and in order, so no `shuffle`, `filter`, `batch`, `take` or `repeat`.
        callbacks: as in Keras. `on_train_begin` and `on_train_end` are called once a process, `on_epoch_begin` once
            more for an epoch that was interrupted. Its steps and metrics are counted from where it goes on.
        validation_data: as in Keras: read at the end of each epoch.
        verbose: as in Keras.
        options: other arguments of Keras' `fit`, such as `class_weight` and `validation_freq`.

    Returns:
        Keras' History, of the epochs that this call trained.

    Raises:
        OptionError: an argument can't work, or what was saved is of another model. PositionError: what was saved is
        of another dataset or order. DamagedDataError: all saves are damaged. OSError: a save can't be written.
    """
    package = package_of(model)
    epochs = whole_number("epochs", epochs, 0)
    save_every = None if save_every is None else whole_number("save_every", save_every, 1)
    wrong = sorted({*options} & {*_OURS})
    if wrong:
        raise OptionError(f"{', '.join(wrong)}: decided by the dataset and by how far the run has come; leave it out.")
    handle = _handle(dataset)
    plan = handle.source.plan
    if plan.epochs != 1:
        found = "endless" if plan.epochs is None else f"of epochs={plan.epochs}"
        raise OptionError(f"The dataset is {found}. fit counts epochs: leave epochs= to it, and make the dataset of 1.")
    if plan.pinned:
        raise OptionError("fit numbers the epochs, the same in every worker: make the dataset without epoch=.")
    state = TrainingState(model)
    saves = Saves(Path(directory), whole_number("keep", keep, 1))
    # Of the workers of a strategy one writes, and all wait for it.
    writes = not handle.choice.rebatched or handle.choice.index == 0
    save = saves.newest()
    if handle.choice.rebatched:
        _agree(model, save)
    if writes:
        saves.prepare()
    begin = position(dataset)
    training = _restarted(handle, begin if save is None else save.position, save)
    run = _Run(training, state, saves, writes, save_every, begin.epoch)
    try:
        if run.next_epoch < 0:
            raise PositionError(f"{save and save.path} is from before the dataset's start=: give another directory=.")
        given = training if prepare is None else prepare(training)
        if save is not None:
            run.source.epoch_now = run.first + run.next_epoch
            state.restore(save, lambda: next(iter(given)))
        history = next((one for one in callbacks or () if isinstance(one, package.callbacks.History)), None)
        history = package.callbacks.History() if history is None else history
        shown = {"verbose": 1 if verbose == "auto" else verbose, "epochs": epochs}
        joined = _joined(package, run, [*(callbacks or ()), history], model, shown)
        with _finalized_once(model):
            joined.begin()
            for epoch in range(run.next_epoch, epochs):
                run.begin_epoch(epoch)
                joined.set_params({**shown, "steps": run.steps})
                model.fit(
                    run.elements(given),
                    initial_epoch=epoch,
                    epochs=epoch + 1,
                    callbacks=joined,
                    validation_data=validation_data,
                    verbose=verbose,
                    shuffle=False,  # Keras 3 warns of its own default.
                    **options,
                )
                if model.stop_training:
                    break
        if epochs:
            model.optimizer.finalize_variable_values(model.trainable_variables)
        joined.end()
        return history
    finally:
        close(training)


class _Run:
    """How far a run has come. Epochs are counted as Keras does; `first` is the dataset's number of epoch 0."""

    def __init__(
        self, training: Any, state: TrainingState, saves: Saves, writes: bool, save_every: int | None, first: int
    ) -> None:
        self._handle = _handle(training)
        self._state, self._saves, self._writes = state, saves, writes
        self._save_every = save_every
        self.first = first
        self.source = self._handle.source
        #: Where this process begins.
        self.next_epoch = self.source.plan.first_epoch - first
        #: Steps of the epoch under way, or of what was left of it.
        self.steps = 0
        self._epoch = 0
        self._made = self._saved = 0

    def begin_epoch(self, epoch: int) -> None:
        """Every pass from now on is of this epoch: Keras begins some that it never reads."""
        self._epoch = epoch
        self._made = self._saved = 0
        self.source.epoch_now = self.first + epoch
        self.steps = self.source.plan.steps(self.first + epoch) * self._handle.choice.steps_of_element

    def elements(self, given: Any) -> Any:
        """What Keras gets for this epoch. Raises OptionError if it has another number of elements than the dataset."""
        known = int(given.cardinality())
        elements = self.steps // self._handle.choice.steps_of_element
        if known not in (elements, tf.data.UNKNOWN_CARDINALITY):
            raise OptionError(
                f"prepare= has to keep the number of elements: the dataset has {elements} in this epoch, and what it "
                f"returned has {'endlessly many' if known < 0 else known}."
            )
        if self._handle.choice.rebatched:
            return given  # TensorFlow divides these once more, and would stop half-way.
        return given.apply(tf.data.experimental.assert_cardinality(elements))

    def before_step(self, made: int) -> None:
        """Saves if it is time to, now that `made` steps were made. Keras may begin a step after the last one."""
        if self._save_every is None or made - self._saved < self._save_every or made >= self.steps:
            return
        # Keras counts in executions of several steps, TensorFlow may divide an element into several.
        if made % self._handle.choice.steps_of_element == 0:
            self._save(made)

    def after_step(self, number: int) -> None:
        """Steps up to this one, from 0, were made: the last execution of several may have had fewer."""
        self._made = min(number + 1, self.steps)

    def end_epoch(self, stopped: bool) -> None:
        """Saves at the end of an epoch, or where training was stopped within it."""
        if self._made < self.steps and not stopped:
            raise OptionError(
                f"Keras made {self._made} steps in an epoch that has {self.steps}: prepare= has to keep the number of "
                "elements, and KERAS_MAX_STEPS_PER_EPOCH must not be set."
            )
        if self._made % self._handle.choice.steps_of_element == 0:
            self._save(self._made)

    def _save(self, made: int) -> None:
        values = self._state.read()
        if self._writes:
            self._saves.write(self._position(made), values)
        self._saved = made

    def _position(self, made: int) -> Position:
        plan = self.source.plan
        steps = made // self._handle.choice.steps_of_element
        if self._epoch > self.next_epoch:
            steps += plan.steps(plan.first_epoch) + (self._epoch - self.next_epoch - 1) * plan.steps(
                plan.first_epoch + 1
            )
        epoch, segments = plan.position_after(steps)
        return replace(self._handle.order, epoch=epoch, segments=segments)


def _restarted(handle: Any, start: Position, save: Save | None) -> Any:
    """The dataset from a position on. Raises PositionError, which names the save, if it is of another order."""
    try:
        return handle.restarted(start)
    except PositionError as error:
        raise PositionError(f"{save and save.path} can't be gone on from. {error}") from None


def _joined(package: Any, run: _Run, callbacks: list[Any], model: Any, params: dict[str, Any]) -> Any:
    """A list of callbacks to which several `fit`s look like one, and which tells the run of what happens."""

    class Joined(package.callbacks.CallbackList):
        """Saves come before other callbacks act on a step to come, and after they have acted on an epoch."""

        def begin(self) -> None:
            with model.distribute_strategy.scope():
                super().on_train_begin()

        def end(self) -> None:
            with model.distribute_strategy.scope():
                super().on_train_end(self.last_logs)

        last_logs: Any = None

        def on_train_begin(self, logs: Any = None) -> None:
            pass

        def on_train_end(self, logs: Any = None) -> None:
            self.last_logs = logs

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            run.before_step(batch)
            super().on_train_batch_begin(batch, logs)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            super().on_train_batch_end(batch, logs)
            run.after_step(batch)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            super().on_epoch_end(epoch, logs)
            run.end_epoch(model.stop_training)

    return Joined(callbacks, add_history=False, add_progbar=params["verbose"] != 0, model=model, steps=None, **params)


@contextmanager
def _finalized_once(model: Any) -> Iterator[None]:
    """Lets the optimizer replace weights by their averages (`use_ema`) at the end of all epochs, not of each `fit`."""
    optimizer = model.optimizer
    optimizer.finalize_variable_values = lambda variables: None
    try:
        yield
    finally:
        del optimizer.finalize_variable_values


def _agree(model: Any, save: Save | None) -> None:
    """Raises OptionError if the workers of a strategy have found different saves: they would wait for each other."""
    here = (0, 0) if save is None else (save.position.epoch + 1, save.position.steps)
    strategy = model.distribute_strategy
    with strategy.scope():
        mine = tf.constant(here, tf.int64)
        # Where all have the same, the mean of the squares is the square of the mean.
        sums = strategy.reduce("SUM", strategy.run(lambda: tf.stack([mine, mine * mine])), axis=None).numpy()
    count = strategy.num_replicas_in_sync
    if (sums[0] * sums[0] != sums[1] * count).any():
        raise OptionError(
            f"The workers found different saves, this one {save.path if save else 'none'}: directory= has to be the "
            "same folder for all of them."
        )
