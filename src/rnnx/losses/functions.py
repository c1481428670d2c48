"""Every loss as a function: the values without a reduction, under the names that Keras has for them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.layers.graph import is_symbolic
from rnnx.layers.names import snake_case
from rnnx.losses.crossentropy import (
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    CategoricalGeneralizedCrossEntropy,
    SparseCategoricalCrossentropy,
)
from rnnx.losses.followed import symbolic_values
from rnnx.losses.loss import Loss
from rnnx.losses.margin import CategoricalHinge, Hinge, SquaredHinge
from rnnx.losses.probabilistic import KLDivergence, Poisson
from rnnx.losses.regression import (
    CosineSimilarity,
    Huber,
    LogCosh,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
)
from rnnx.losses.segmentation import Dice, Tversky
from rnnx.losses.sequence import CTC
from rnnx.losses.similarity import Circle

LossFunction = Callable[..., Any]
OF_THE_RESULT = ("reduction", "name", "dtype")  # arguments of a loss that its function has not


def function_of(kind: type[Loss]) -> LossFunction:
    """``function(y_true, y_pred, ...)``, which gives the values of a loss; ``function.loss`` is the class."""
    own = [p for p in inspect.signature(kind).parameters.values() if p.name not in OF_THE_RESULT]
    order = [p.name for p in own]

    def function(y_true: Any, y_pred: Any, *arguments: Any, **options: Any) -> Any:
        if len(arguments) > len(order):
            raise TypeError(f"{name}: takes {2 + len(order)} arguments at most, got {2 + len(arguments)}")
        loss = kind(**dict(zip(order, arguments, strict=False)), **options)
        if is_symbolic(y_pred):
            return symbolic_values(loss, y_true, y_pred)
        if np.ndim(y_pred) == 1 and loss.of_numbers:  # one vector, which has one value
            return loss.each(np.asarray(y_true)[None], np.asarray(y_pred)[None])[0]
        return loss.each(y_true, y_pred)

    name = snake_case(kind.__name__)
    y = [inspect.Parameter(word, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Any) for word in ARRAYS]
    function.__name__ = function.__qualname__ = name
    function.__module__ = "rnnx.losses"
    function.__doc__ = f"""The values of `{kind.__name__}`, one for each vector of predictions.

    Parameters
    ----------
    y_true, y_pred : arrays
    {", ".join(order) + ": as of the class" if order else ""}

    Returns
    -------
    array
    """
    vars(function).update(loss=kind, __signature__=inspect.Signature([*y, *own], return_annotation=Array))
    return function


ARRAYS = ("y_true", "y_pred")
binary_crossentropy = function_of(BinaryCrossentropy)
binary_focal_crossentropy = function_of(BinaryFocalCrossentropy)
categorical_crossentropy = function_of(CategoricalCrossentropy)
categorical_focal_crossentropy = function_of(CategoricalFocalCrossentropy)
categorical_generalized_cross_entropy = function_of(CategoricalGeneralizedCrossEntropy)
categorical_hinge = function_of(CategoricalHinge)
cosine_similarity = function_of(CosineSimilarity)
ctc = function_of(CTC)
dice = function_of(Dice)
hinge = function_of(Hinge)
huber = function_of(Huber)
kl_divergence = function_of(KLDivergence)
log_cosh = function_of(LogCosh)
mean_absolute_error = function_of(MeanAbsoluteError)
mean_absolute_percentage_error = function_of(MeanAbsolutePercentageError)
mean_squared_error = function_of(MeanSquaredError)
mean_squared_logarithmic_error = function_of(MeanSquaredLogarithmicError)
poisson = function_of(Poisson)
sparse_categorical_crossentropy = function_of(SparseCategoricalCrossentropy)
squared_hinge = function_of(SquaredHinge)
tversky = function_of(Tversky)


def circle(
    y_true: Any,
    y_pred: Any,
    ref_labels: Any = None,
    ref_embeddings: Any = None,
    remove_diagonal: bool = True,
    gamma: float = 80.0,
    margin: float = 0.4,
) -> Array:
    """The values of `Circle`, one for each row.

    Parameters
    ----------
    y_true : array of shape (batch,)
    y_pred : array of shape (batch, width)
    ref_labels : array of shape (others,), optional
        The classes of what the rows are compared with; the rows themselves if not given.
    ref_embeddings : array of shape (others, width), optional
    remove_diagonal, gamma, margin
        As of the class.

    Returns
    -------
    array of shape (batch,)
    """
    loss = Circle(gamma, margin, remove_diagonal)
    rows = np.asarray(y_pred)
    labels = loss.align(y_true, rows)
    others = rows if ref_embeddings is None else np.asarray(ref_embeddings, rows.dtype)
    of_others = labels if ref_labels is None else loss.align(ref_labels, others)
    return loss.against(labels, rows, of_others, others)[0]


vars(circle).update(loss=Circle)
