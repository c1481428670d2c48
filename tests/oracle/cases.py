"""Random problems for the oracle: asymmetric weights, every option, awkward sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from rnnx import functional, reference
from rnnx.dropout import DropoutMasks
from rnnx.functional import GRUParams, LSTMParams, RNNParams

CELLS = ("lstm", "gru_after", "gru_before", "simple_rnn")
GATES = {"lstm": 4, "gru_after": 3, "gru_before": 3, "simple_rnn": 1}
FAST = {
    "lstm": functional.lstm,
    "gru_after": functional.gru,
    "gru_before": functional.gru,
    "simple_rnn": functional.simple_rnn,
}
SLOW = {
    "lstm": reference.lstm,
    "gru_after": reference.gru,
    "gru_before": reference.gru,
    "simple_rnn": reference.simple_rnn,
}
OPTIONS = [  # of ONNX, by the cells that have them
    *((cell, {"clip": 0.35}) for cell in CELLS),
    ("lstm", {"peepholes": True}),
    ("lstm", {"coupled": True}),
    ("lstm", {"peepholes": True, "coupled": True, "clip": 0.6, "recurrent_activation": "hard_sigmoid"}),
]
FORWARD_TOLERANCE = {np.float32: 2e-6, np.float64: 1e-12}
GRADIENT_TOLERANCE = {np.float32: 1e-5, np.float64: 1e-11}


def make_params(
    cell: str,
    features: int,
    units: int,
    dtype: Any,
    rng: np.random.Generator,
    *,
    bias: bool = True,
    **options: Any,
):
    gates = GATES[cell]
    scale = 1 / np.sqrt(features + units)
    kernel = rng.normal(size=(features, gates * units), scale=scale).astype(dtype)
    rows = units // options.get("recurrent_blocks", 1)
    recurrent = rng.normal(size=(rows, gates * units), scale=scale).astype(dtype)
    shape = (2, gates * units) if cell == "gru_after" else (gates * units,)
    b = rng.normal(size=shape, scale=0.5).astype(dtype) if bias else None
    if cell == "lstm":
        if options.get("peepholes"):
            options["peepholes"] = rng.normal(size=3 * units, scale=0.7).astype(dtype)
        return LSTMParams(kernel, recurrent, b, **options)
    if cell == "simple_rnn":
        options.pop("recurrent_activation", None)
        return RNNParams(kernel, recurrent, b, **options)
    return GRUParams(kernel, recurrent, b, reset_after=cell == "gru_after", **options)


def make_state(cell: str, batch: int, units: int, dtype: Any, rng: np.random.Generator):
    h, c = (rng.normal(size=(batch, units), scale=0.5).astype(dtype) for _ in range(2))
    return (h, c) if cell == "lstm" else h


def keep_mask(shape: tuple[int, ...], dtype: Any, rng: np.random.Generator, rate: float = 0.4) -> np.ndarray:
    return ((rng.random(shape) >= rate) / (1 - rate)).astype(dtype)


def make_masks(
    kind: str,
    cell: str,
    batch: int,
    timesteps: int,
    features: int,
    units: int,
    dtype: Any,
    rng: np.random.Generator,
    blocks: int = 1,
):
    """A set of dropout masks by the name of its kind."""
    gates = GATES[cell]
    b, t, f, u = batch, timesteps, features, units
    build = {
        "none": lambda: None,
        "input": lambda: DropoutMasks(inputs=keep_mask((1, b, 1, f), dtype, rng)),
        "input_per_gate": lambda: DropoutMasks(inputs=keep_mask((gates, b, 1, f), dtype, rng)),
        "input_steps": lambda: DropoutMasks(inputs=keep_mask((1, b, t, 1), dtype, rng)),
        "input_fresh": lambda: DropoutMasks(inputs=keep_mask((gates, b, t, f), dtype, rng)),
        "state": lambda: DropoutMasks(recurrent=keep_mask((1, b, 1, u), dtype, rng)),
        "state_per_gate": lambda: DropoutMasks(recurrent=keep_mask((gates, b, 1, u), dtype, rng)),
        "state_one_for_batch": lambda: DropoutMasks(
            inputs=keep_mask((1, 1, 1, f), dtype, rng), recurrent=keep_mask((1, 1, 1, u), dtype, rng)
        ),
        "state_fresh": lambda: DropoutMasks(
            inputs=keep_mask((gates, b, 1, f), dtype, rng), recurrent=keep_mask((gates, b, t, u), dtype, rng)
        ),
        "masked_blend": lambda: DropoutMasks(recurrent=keep_mask((1, b, 1, u), dtype, rng), masked_blend=True),
        "update": lambda: DropoutMasks(recurrent=keep_mask((1, b, t, u), dtype, rng), recurrent_mode="update"),
        "cell": lambda: DropoutMasks(recurrent=keep_mask((1, b, 1, u), dtype, rng), recurrent_mode="cell"),
        "weights": lambda: DropoutMasks(
            inputs=keep_mask((1, b, 1, f), dtype, rng),
            recurrent=keep_mask((u // blocks, gates * u), dtype, rng),
            recurrent_mode="weights",
        ),
        "weight_noise": lambda: DropoutMasks(
            recurrent=keep_mask((gates, b, 1, u), dtype, rng),
            kernel_noise=rng.normal(size=(f, gates * u), scale=0.2).astype(dtype),
            recurrent_kernel_noise=rng.normal(size=(u // blocks, gates * u), scale=0.2).astype(dtype),
        ),
        "weights_and_noise": lambda: DropoutMasks(
            recurrent=keep_mask((u // blocks, gates * u), dtype, rng),
            recurrent_mode="weights",
            recurrent_kernel_noise=rng.normal(size=(u // blocks, gates * u), scale=0.2).astype(dtype),
        ),
        "zoneout": lambda: DropoutMasks(
            zoneout_hidden=(rng.random((b, t, u)) < 0.3).astype(dtype),
            zoneout_cell=(rng.random((b, t, u)) < 0.4).astype(dtype) if cell == "lstm" else None,
        ),
        "zoneout_expected": lambda: DropoutMasks(
            zoneout_hidden=np.full((1, 1, 1), 0.3, dtype),
            zoneout_cell=np.full((1, 1, 1), 0.2, dtype) if cell == "lstm" else None,
        ),
        "everything": lambda: DropoutMasks(
            inputs=keep_mask((gates, b, t, f), dtype, rng),
            recurrent=keep_mask((gates, b, 1, u), dtype, rng),
            zoneout_hidden=(rng.random((b, 1, u)) < 0.3).astype(dtype),
            zoneout_cell=(rng.random((1, t, u)) < 0.4).astype(dtype) if cell == "lstm" else None,
        ),
    }
    return build[kind]()


MASK_KINDS = (
    "none",
    "input",
    "input_per_gate",
    "input_steps",
    "input_fresh",
    "state",
    "state_per_gate",
    "state_one_for_batch",
    "state_fresh",
    "masked_blend",
    "update",
    "cell",
    "weights",
    "weight_noise",
    "weights_and_noise",
    "zoneout",
    "zoneout_expected",
    "everything",
)


def make_valid(kind: str, batch: int, timesteps: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """``mask=`` or ``lengths=`` by the name of its kind; an empty row stands among every kind but "none"."""
    if kind == "none":
        return {}
    lengths = rng.integers(0, timesteps + 1, batch)
    if kind == "lengths":
        return {"lengths": lengths}
    mask = np.arange(timesteps) < lengths[:, None]
    if kind == "left":
        mask = mask[:, ::-1]
    if kind == "gaps":
        mask = rng.random((batch, timesteps)) < 0.6
        mask[batch // 2] = False
    return {"mask": mask}


def to_float64(value: Any) -> Any:
    """The same problem for the reference."""
    if value is None:
        return None
    if isinstance(value, tuple):
        return tuple(to_float64(part) for part in value)
    if isinstance(value, DropoutMasks | LSTMParams | GRUParams | RNNParams):
        names = [n for n in vars(value) if isinstance(getattr(value, n), np.ndarray)]
        return replace(value, **{n: getattr(value, n).astype(np.float64) for n in names})
    return value.astype(np.float64)


def close(got: Any, want: Any, tolerance: float, what: str) -> None:
    """Largest difference, relative to the larger of 1 and the largest value."""
    if want is None:
        assert got is None, what
        return
    if isinstance(want, tuple):
        for k, (g, w) in enumerate(zip(got, want, strict=True)):
            close(g, w, tolerance, f"{what}[{k}]")
        return
    assert got.shape == want.shape, what
    if want.size:
        scale = max(1.0, float(np.abs(want).max()))
        error = float(np.abs(got - want).max()) / scale
        assert error <= tolerance, f"{what}: {error:.3g} > {tolerance:.3g}"


def compare(
    cell: str, params: Any, x: np.ndarray, rng: np.random.Generator, *, need_dx: bool = True, **call: Any
) -> None:
    """Outputs, states and every gradient of the engine against the reference."""
    dtype = x.dtype.type
    fast = FAST[cell].forward(params, x, training=True, **call)
    plain = FAST[cell].forward(params, x, **call)
    slow_call = {k: to_float64(v) if k in ("initial_state", "masks") else v for k, v in call.items()}
    slow = SLOW[cell].forward(to_float64(params), to_float64(x), training=True, **slow_call)
    for name, run in (("training", fast), ("inference", plain)):
        assert run.outputs.dtype == dtype
        close(run.outputs, slow.outputs, FORWARD_TOLERANCE[dtype], f"{name} outputs")
        close(run.state, slow.state, FORWARD_TOLERANCE[dtype], f"{name} state")
    doutputs = rng.normal(size=fast.outputs.shape).astype(dtype)
    dstate = make_state(cell, x.shape[0], fast.outputs.shape[-1], dtype, rng)
    for given in (dstate, None):
        got = FAST[cell].backward(fast.cache, doutputs, given, need_dx=need_dx)
        want = SLOW[cell].backward(slow.cache, to_float64(doutputs), to_float64(given), need_dx=need_dx)
        tolerance = GRADIENT_TOLERANCE[dtype]
        close(got.dx, want.dx, tolerance, "dx")
        close(got.dinitial_state, want.dinitial_state, tolerance, "dinitial_state")
        for name in ("kernel", "recurrent_kernel", "bias", "peepholes"):
            close(getattr(got.dparams, name, None), getattr(want.dparams, name, None), tolerance, f"d{name}")
