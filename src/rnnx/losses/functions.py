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
from rnnx.losses.traced_loss import symbolic_values

LossFunction = Callable[..., Any]
OF_THE_RESULT = ("reduction", "name", "dtype")  # arguments of a loss that its function has not


def function_of(kind: type[Loss], given: str, shown: str) -> LossFunction:
    """``function(y_true, y_pred, ...)``, which gives the values of a loss; ``function.loss`` is the class.

    The example in its docstring prints ``shown`` for the arguments ``given``.
    """
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
    more = f"\n    {', '.join(order)}\n        As of the class." if order else ""
    function.__doc__ = f"""The values of `{kind.__name__}` without a reduction; the class says the shapes.

    Parameters
    ----------
    y_true, y_pred : arrays or symbolic tensors{more}

    Returns
    -------
    array, or a symbolic tensor

    Raises
    ------
    ValueError
        If the targets do not fit the predictions.

    Examples
    --------
    >>> from rnnx import losses
    >>> print(losses.{name}({given}).round(4))
    {shown}
    """
    vars(function).update(loss=kind, __signature__=inspect.Signature([*y, *own], return_annotation=Array))
    return function


ARRAYS = ("y_true", "y_pred")
binary_crossentropy = function_of(BinaryCrossentropy, "[[0, 1]], [[0.5, 0.75]]", "[0.4904]")
binary_focal_crossentropy = function_of(BinaryFocalCrossentropy, "[[0, 1]], [[0.5, 0.75]]", "[0.0956]")
categorical_crossentropy = function_of(CategoricalCrossentropy, "[[0, 1]], [[0.25, 0.75]]", "[0.2877]")
categorical_focal_crossentropy = function_of(CategoricalFocalCrossentropy, "[[0, 1]], [[0.25, 0.75]]", "[0.0045]")
categorical_generalized_cross_entropy = function_of(
    CategoricalGeneralizedCrossEntropy, "[1], [[0.25, 0.75]]", "[0.2679]"
)
categorical_hinge = function_of(CategoricalHinge, "[[0, 1]], [[0.25, 0.75]]", "[0.5]")
cosine_similarity = function_of(CosineSimilarity, "[[0.0, 1.0]], [[3.0, 4.0]]", "[-0.8]")
ctc = function_of(CTC, "[[1]], [[[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]", "[1.0986]")
dice = function_of(Dice, "[[[0.0], [1.0]]], [[[0.5], [1.0]]]", "0.2")
hinge = function_of(Hinge, "[[-1, 1]], [[0.5, 0.75]]", "[0.875]")
huber = function_of(Huber, "[[0.0, 0.0]], [[0.5, 3.0]]", "[1.3125]")
kl_divergence = function_of(KLDivergence, "[[0.5, 0.5]], [[0.25, 0.75]]", "[0.1438]")
log_cosh = function_of(LogCosh, "[[0.0, 0.0]], [[1.0, 3.0]]", "[1.3716]")
mean_absolute_error = function_of(MeanAbsoluteError, "[[0.0, 1.0]], [[1.0, 3.0]]", "[1.5]")
mean_absolute_percentage_error = function_of(MeanAbsolutePercentageError, "[[2.0, 4.0]], [[1.0, 3.0]]", "[37.5]")
mean_squared_error = function_of(MeanSquaredError, "[[0.0, 1.0]], [[1.0, 3.0]]", "[2.5]")
mean_squared_logarithmic_error = function_of(MeanSquaredLogarithmicError, "[[0.0, 1.0]], [[1.0, 3.0]]", "[0.4805]")
poisson = function_of(Poisson, "[[1.0, 2.0]], [[1.0, 3.0]]", "[0.9014]")
sparse_categorical_crossentropy = function_of(SparseCategoricalCrossentropy, "[1], [[0.25, 0.75]]", "[0.2877]")
squared_hinge = function_of(SquaredHinge, "[[-1, 1]], [[0.5, 0.75]]", "[1.1562]")
tversky = function_of(Tversky, "[[[0.0], [1.0]]], [[[0.5], [1.0]]]", "0.2")


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

    Raises
    ------
    ValueError
        If there are not as many classes as rows.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnx import losses
    >>> rows = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])  # of length 1
    >>> print(losses.circle([0, 0, 1], rows).round(2))
    [ 0.  38.4  0. ]
    """
    loss = Circle(gamma, margin, remove_diagonal)
    rows = np.asarray(y_pred)
    labels = loss.align(y_true, rows)
    others = rows if ref_embeddings is None else np.asarray(ref_embeddings, rows.dtype)
    of_others = labels if ref_labels is None else loss.align(ref_labels, others)
    return loss.against(labels, rows, of_others, others)[0]


vars(circle).update(loss=Circle)
