"""What of a Keras model decides how its training goes on: weights, the optimizer's variables, states of seeds."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import tensorflow as tf

from tfpetastorm.errors import OptionError, describe
from tfpetastorm.keras.saves import Save, Variable
from tfpetastorm.schema.columns import Array

_PACKAGES = ("keras", "tf_keras")


def package_of(model: Any) -> Any:
    """The Keras that a model belongs to: `keras` (3) or `tf_keras` (2).

    Raises OptionError if it is of none, or if Keras 3 runs on another backend than TensorFlow.
    """
    names = [cls.__module__.split(".")[0] for cls in type(model).__mro__ if cls.__name__ == "Model"]
    name = next((name for name in names if name in _PACKAGES), None)
    if name is None:
        raise OptionError(f"fit trains a model of keras or tf_keras, not {type(model).__qualname__}.")
    package = importlib.import_module(name)
    if name == "keras" and package.backend.backend() != "tensorflow":
        raise OptionError(
            f"fit can save a model in mid-epoch on Keras' TensorFlow backend only, and this is "
            f"{package.backend.backend()!r}. Set KERAS_BACKEND=tensorflow."
        )
    return package


class TrainingState:
    """The variables of a compiled model and its optimizer.

    Metrics are not among them: they start anew with each `fit`. Raises OptionError for a model without an optimizer.
    """

    def __init__(self, model: Any) -> None:
        if not hasattr(getattr(model, "optimizer", None), "build"):
            raise OptionError(
                "fit saves the optimizer with the model, so the model has to be compiled with one that has build() (a "
                "legacy one has not)."
            )
        self._model = model

    def read(self) -> list[tuple[Variable, Array]]:
        """All variables and their values.

        Some, such as the statistics of BatchNormalization, are the mean or sum of what the replicas of a strategy hold.
        These are set to it, so that training goes on from what was read whether it is interrupted or not. Under a
        strategy with several workers all of them have to call this at the same step.
        """
        with self._model.distribute_strategy.scope():
            values = [(variable, np.asarray(variable.numpy())) for variable in self._variables()]
            for variable, value in values:
                if _differs_by_replica(variable):
                    variable.assign(value)
        return [(_described(variable, value), value) for variable, value in values]

    def restore(self, save: Save, batch: Any) -> None:
        """Sets all variables to those saved. A model that isn't built yet is built: `batch` gives it a batch.

        Raises OptionError if the model or its optimizer has other variables.
        """
        model = self._model
        with model.distribute_strategy.scope():
            if not model.built or not model.variables:
                model(package_of(model).utils.unpack_x_y_sample_weight(batch())[0])
            model.optimizer.build(model.trainable_variables)
            variables = self._variables()
            now = [_described(variable, np.asarray(variable.numpy())) for variable in variables]
            self._check(save, now)
            for variable, content in zip(variables, save.content, strict=True):
                like = variable.numpy()
                variable.assign(np.frombuffer(content, np.asarray(like).dtype).reshape(np.shape(like)))

    def _variables(self) -> list[Any]:
        optimizer = self._model.optimizer
        found = [*self._model.variables, *optimizer.variables]
        rate = getattr(optimizer, "learning_rate", None)
        if hasattr(rate, "assign"):
            # Keras 2 does not count it among the optimizer's, but callbacks change it.
            found.append(rate)
        return list({id(variable): variable for variable in found}.values())

    def _check(self, save: Save, now: list[Variable]) -> None:
        for number in range(max(len(now), len(save.variables))):
            then = save.variables[number] if number < len(save.variables) else None
            today = now[number] if number < len(now) else None
            if then is None or today is None or (then.dtype, then.shape) != (today.dtype, today.shape):
                raise OptionError(
                    describe(
                        f"{save.path} is of another model or optimizer: variable {number} differs",
                        expected=_named(then),
                        found=_named(today),
                        remedy="Build and compile the model as it was, or give another directory= to start anew.",
                    )
                )


def _differs_by_replica(variable: Any) -> bool:
    inner = variable if callable(variable.value) else variable.value
    return bool(getattr(inner, "synchronization", None) == tf.VariableSynchronization.ON_READ)


def _described(variable: Any, value: Array) -> Variable:
    name = str(getattr(variable, "path", None) or variable.name)
    if value.dtype.hasobject or value.dtype.kind in "SU":
        raise OptionError(f"Variable {name} is of dtype {value.dtype}: fit saves numbers only.")
    return Variable(name, value.dtype.name, value.shape)


def _named(variable: Variable | None) -> str:
    return "none" if variable is None else f"{variable.name} {variable.dtype}{list(variable.shape)}"
