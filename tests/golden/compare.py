"""Run rnnx on a golden case and compare values and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

import rnnx
from rnnx.dropout import DropoutMasks

from .store import Case, build_layer

DTYPES = ["float32", "float64"]
FORWARD = {"float32": 1e-6, "float64": 1e-12}
GRADIENT = {"float32": 1e-5, "float64": 1e-11}


def same_values(got: Any, expected: np.ndarray, dtype: str, what: str = "") -> None:
    """Demand equal shapes, and values within the forward tolerance of the dtype (relative beyond 1)."""
    close(got, expected, FORWARD[dtype] * max(1.0, largest(expected)), what)


def same_gradient(got: Any, expected: np.ndarray, dtype: str, what: str = "") -> None:
    """Demand equal shapes, and differences within the gradient tolerance relative to the largest entry."""
    close(got, expected, GRADIENT[dtype] * largest(expected), what)


def close(got: Any, expected: np.ndarray, tolerance: float, what: str = "") -> None:
    """Demand equal shapes and differences of at most the tolerance."""
    assert got is not None, f"{what} is missing"
    assert np.shape(got) == expected.shape, f"{what} has shape {np.shape(got)}, expected {expected.shape}"
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance, err_msg=what)


def largest(array: np.ndarray) -> float:
    """Return the largest absolute entry."""
    return float(np.abs(array).max(initial=0.0))


def flat(value: Any) -> list[np.ndarray]:
    """Return the arrays of a possibly nested result in order."""
    if isinstance(value, (list, tuple)):
        return [item for member in value for item in flat(member)]
    return [value]


def cast(array: np.ndarray | None, dtype: str) -> Any:
    """Return a floating-point array in the dtype of the test, anything else as it is."""
    return array.astype(dtype) if array is not None and array.dtype.kind == "f" else array


def dropout_masks(case: Case, dtype: str) -> DropoutMasks | None:
    """Return the dropout masks of a case."""
    inputs, recurrent = case.get("masks/inputs"), case.get("masks/recurrent")
    if inputs is None and recurrent is None:
        return None
    return DropoutMasks(inputs=cast(inputs, dtype), recurrent=cast(recurrent, dtype))


def check_core(core: Any, case: Case, dtype: str) -> None:
    """Hold ``rnnx.functional`` or ``rnnx.reference`` to a case of one recurrent layer."""
    kwargs = dict(case.config["spec"]["kwargs"])
    name = case.config["spec"]["class"]
    module = {"LSTM": core.lstm, "GRU": core.gru, "SimpleRNN": core.simple_rnn}[name]
    make = {"LSTM": rnnx.functional.LSTMParams, "GRU": rnnx.functional.GRUParams}.get(name, rnnx.functional.RNNParams)
    wanted = ("activation", "recurrent_activation", "reset_after")
    options = {key: kwargs[key] for key in wanted if key in kwargs}
    params = make(*[cast(weight, dtype) for weight in case.listed("weights")], **options)
    states = [cast(state, dtype) for state in case.listed("initial_state")]
    sequences = kwargs.get("return_sequences", False)
    run = module.forward(
        params,
        cast(case["x/0"], dtype),
        initial_state=None if not states else tuple(states) if name == "LSTM" else states[0],
        mask=case.get("mask"),
        masks=dropout_masks(case, dtype),
        go_backwards=kwargs.get("go_backwards", False),
        return_sequences=sequences,
        zero_output_for_mask=kwargs.get("zero_output_for_mask", False),
        training=True,
    )
    got = [run.outputs, *flat(run.state)]
    expected = case.listed("y")
    for number, (value, wish) in enumerate(zip(got, expected, strict=False)):
        same_values(value, wish, dtype, f"result {number}")
    dys = [cast(dy, dtype) for dy in case.listed("dy")]
    if not dys:
        return
    precision = case.config.get("gradient_precision", dtype)
    dstate = dys[1:] or None
    grads = module.backward(run.cache, dys[0], tuple(dstate) if name == "LSTM" and dstate else dstate and dstate[0])
    same_gradient(grads.dx, case["dx/0"], precision, "dx")
    parts = [grads.dparams.kernel, grads.dparams.recurrent_kernel, grads.dparams.bias]
    for number, wish in enumerate(case.listed("dweights")):
        same_gradient(parts[number], wish, precision, f"dweights {number}")
    for value, wish in zip(flat(grads.dinitial_state), case.listed("dinitial_state"), strict=False):
        same_gradient(value, wish, precision, "dinitial_state")


def make_layer(case: Case, dtype: str, **extra: Any) -> Any:
    """Build the rnnx layer of a case and give it the weights of the case."""
    layer = build_layer(rnnx.layers, case.config["spec"], dtype=dtype, **extra)
    shapes = [x.shape for x in case.listed("x")]
    layer.build(shapes if len(shapes) > 1 else shapes[0])
    layer.set_weights([cast(weight, dtype) for weight in case.listed("weights")])
    return layer


def check_layer(case: Case, dtype: str, **extra: Any) -> None:
    """Hold a layer of rnnx to a case: results, weights that training changes, and every gradient."""
    layer = make_layer(case, dtype, **extra)
    xs = [cast(x, dtype) for x in case.listed("x")]
    call: dict[str, Any] = {"training": case.config["training"]}
    if case.get("mask") is not None:
        call["mask"] = case["mask"]
    if states := case.listed("initial_state"):
        call["initial_state"] = [cast(state, dtype) for state in states]
    if (masks := dropout_masks(case, dtype)) is not None:
        call["dropout_masks"] = masks
    values = case.config.get("precision", dtype)
    y, pullback = layer.vjp(xs if len(xs) > 1 else xs[0], **call)
    got = flat(y)
    assert len(got) == len(case.listed("y"))
    for number, (value, wish) in enumerate(zip(got, case.listed("y"), strict=True)):
        assert value.dtype == dtype
        same_values(value, wish, values, f"result {number}")
    for number, wish in enumerate(case.listed("weights_after")):
        same_values(layer.get_weights()[number], wish, values, f"weight {number} after the call")
    dys = [cast(dy, dtype) for dy in case.listed("dy")]
    if not dys:
        return
    precision = case.config.get("gradient_precision", values)
    gradients = pullback(dys if isinstance(y, (list, tuple)) else dys[0])
    for value, wish in zip(flat(gradients.dx), case.listed("dx"), strict=bool(case.listed("dx"))):
        same_gradient(value, wish, precision, "dx")
    dweights = [gradient for gradient in gradients.dweights if gradient is not None]
    for number, (value, wish) in enumerate(zip(dweights, case.listed("dweights"), strict=True)):
        same_gradient(value, wish, precision, f"dweights {number}")
    for value, wish in zip(flat(gradients.dinitial_state), case.listed("dinitial_state"), strict=bool(states)):
        same_gradient(value, wish, precision, "dinitial_state")
