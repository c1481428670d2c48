"""Losses by their names."""

from __future__ import annotations

from typing import Any

from rnnx._config import lookup
from rnnx.losses.crossentropy import BinaryCrossentropy, CategoricalCrossentropy, SparseCategoricalCrossentropy
from rnnx.losses.probabilistic import KLDivergence, Poisson
from rnnx.losses.regression import Huber, LogCosh, MeanAbsoluteError, MeanSquaredError

TABLE: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        BinaryCrossentropy, CategoricalCrossentropy, Huber, KLDivergence, LogCosh, MeanAbsoluteError, MeanSquaredError,
        Poisson, SparseCategoricalCrossentropy,
    )
}  # fmt: skip
TABLE.update(
    mse=MeanSquaredError, mean_squared_error=MeanSquaredError, mae=MeanAbsoluteError, huber=Huber, log_cosh=LogCosh,
    mean_absolute_error=MeanAbsoluteError, logcosh=LogCosh, kld=KLDivergence, kl_divergence=KLDivergence,
    poisson=Poisson, bce=BinaryCrossentropy, binary_crossentropy=BinaryCrossentropy,
    categorical_crossentropy=CategoricalCrossentropy, sparse_categorical_crossentropy=SparseCategoricalCrossentropy,
    MSE=MeanSquaredError, MAE=MeanAbsoluteError,
)  # fmt: skip


def get(identifier: Any) -> Any:
    """The loss of a name, a configuration or an object.

    Examples
    --------
    >>> from rnnx import losses
    >>> losses.get("mse")([[0.0, 2.0]], [[1.0, 2.0]])
    0.5
    """
    found = lookup("loss", TABLE, identifier)
    if found is not None and not hasattr(found, "value_and_grad"):
        raise TypeError(
            f"loss: a function has no gradient here, got {identifier!r}; derive from rnnx.losses.Loss and implement "
            "`values(y_true, y_pred)`, which returns the values and their slopes"
        )
    return found
