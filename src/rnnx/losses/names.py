"""Losses by their names."""

from __future__ import annotations

from typing import Any

from rnnx._config import lookup
from rnnx.losses import functions
from rnnx.losses.functions import LossFunction
from rnnx.losses.loss import Loss
from rnnx.losses.traced_loss import FunctionLoss

FUNCTIONS: dict[str, LossFunction] = {
    name: thing for name, thing in vars(functions).items() if hasattr(thing, "loss") and name == thing.__name__
}
CLASSES: dict[str, type[Loss]] = {
    kind.__name__: kind for kind in (vars(function)["loss"] for function in FUNCTIONS.values())
}
ALIASES = {
    "bce": "binary_crossentropy", "BCE": "binary_crossentropy", "kld": "kl_divergence", "KLD": "kl_divergence",
    "kullback_leibler_divergence": "kl_divergence", "logcosh": "log_cosh", "mae": "mean_absolute_error",
    "MAE": "mean_absolute_error", "mape": "mean_absolute_percentage_error", "MAPE": "mean_absolute_percentage_error",
    "mse": "mean_squared_error", "MSE": "mean_squared_error", "msle": "mean_squared_logarithmic_error",
    "MSLE": "mean_squared_logarithmic_error",
}  # fmt: skip
TABLE: dict[str, Any] = {**CLASSES, **FUNCTIONS, **{alias: FUNCTIONS[name] for alias, name in ALIASES.items()}}
KINDS: dict[str, type[Loss]] = {name: getattr(thing, "loss", thing) for name, thing in TABLE.items()}


def get(identifier: Any) -> Any:
    """The function or loss of a name, the loss of a configuration or class, or what is given itself, as in Keras.

    Names in small letters are those of functions, which give one value for each vector of predictions; `loss_of` makes
    a loss of anything that a model can be trained for.

    Parameters
    ----------
    identifier : str, dict, class, callable or None

    Returns
    -------
    callable or None
        ``(y_true, y_pred) -> array`` of a name in small letters, else a `Loss`, or what was given

    Raises
    ------
    ValueError
        If there is nothing of this name.

    Examples
    --------
    >>> from rnnx import losses
    >>> losses.get("mse")([[0.0, 2.0]], [[1.0, 2.0]])
    array([0.5])
    >>> losses.get("MeanSquaredError")([[0.0, 2.0]], [[1.0, 2.0]])
    0.5
    """
    if isinstance(identifier, str) and identifier in TABLE:
        found = TABLE[identifier]
        return found() if isinstance(found, type) else found
    return lookup("loss", KINDS, identifier)


def loss_of(identifier: Any) -> Any:
    """The loss of a name, a configuration, a class, a function or an object; None stays None.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If it is none of these.

    Examples
    --------
    >>> from rnnx import losses
    >>> losses.loss_of("mse")([[0.0, 2.0], [0.0, 0.0]], [[1.0, 2.0], [0.0, 0.0]])
    0.25
    """
    if isinstance(identifier, Loss):
        return identifier
    found = lookup("loss", KINDS, identifier)
    found = found.loss() if hasattr(found, "loss") and callable(found) else found
    if found is None or hasattr(found, "value_and_grad"):
        return found
    if not callable(found):
        raise TypeError(f"loss: expected a name, a Loss or a function of (y_true, y_pred), got {identifier!r}")
    return FunctionLoss(found)
