"""From one kind of model file to another, with the result read again and held against the original."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, product
from pathlib import Path
from typing import Any

import numpy as np

from rnnx._nested import leaves
from rnnx._typing import Array
from rnnx.formats import safetensors, torch
from rnnx.formats.torch._slots import is_padded
from rnnx.layers import (
    BatchNormalization,
    Conv1D,
    Conv2D,
    Conv3D,
    Dense,
    Embedding,
    GroupNormalization,
    LayerNormalization,
    SimpleRNN,
    SimpleRNNCell,
    TimeDistributed,
)
from rnnx.models import Model, clone_model
from rnnx.quantization import QuantizationReport, quantized_copies
from rnnx.saving import FormatError, format_of, is_checkpoint

TOLERANCE = 1e-5  # largest difference of outputs, of their largest value if that is above 1
SIZE = 6  # of an axis of the random input that may have any size
MOST_SIZES = 4096  # that are tried
MOST_SIDES = 64  # of each axis of an image
CONVOLUTIONS = (Conv1D, Conv2D, Conv3D)
NORMS = (BatchNormalization, GroupNormalization, LayerNormalization)
BATCH = 3


@dataclass
class Conversion:
    """What `convert` did.

    Attributes
    ----------
    model : Model or dict of str to layer
        What was read.
    largest_difference : float
        Between the outputs of what was read and of what was written, on random input.
    compared : str
        What was compared.
    notes : list of str
        What the new file does not hold.
    quantization : QuantizationReport or None
        How far its weights of fewer bits move the outputs: on the calibration data, or on random input without any.
    """

    model: Any
    largest_difference: float
    compared: str
    notes: list[str] = field(default_factory=list)
    quantization: QuantizationReport | None = None


def reader_of(path: Any) -> Any:
    """The module of `rnnx.formats` that reads a file, by its content; what a safetensors file is, its metadata say.

    Raises
    ------
    FormatError
        If the file is of no known kind, or damaged.
    OSError
        If it cannot be read.
    """
    if not os.path.exists(path) and not is_checkpoint(path):
        raise FileNotFoundError(f"{path}: no such file")
    module = format_of(path, "read")
    if module is safetensors:
        _, header, _ = safetensors._open(path)
        metadata = header.get("__metadata__", {})
        if not isinstance(metadata, dict) or "rnnx" not in metadata:
            return torch
    return module


def convert(
    source: Any,
    target: Any,
    *,
    to_torch: bool = False,
    modules: Iterable[str] | None = None,
    quantize: str | None = None,
    calibration_data: Any = None,
    tolerance: float | None = None,
) -> Conversion:
    """Write a model file in another format.

    The new file is written beside its place, read again and compared on random input; it is moved to its place only
    if the outputs agree.

    Parameters
    ----------
    source, target : path
        What is in the source and the suffix of the target say the formats.
    to_torch : bool
        A ``.safetensors`` target is for PyTorch (a state dict), not a model of rnnx.
    modules : iterable of str, optional
        Of a PyTorch file: the modules that are the model, in the order of the chain.
    quantize : {"bf16", "int8", "int8x16", "int16"}, optional
        Bits of the new file's weights, as for ``model.quantize``; for rnnx' own ``.safetensors`` only.
    calibration_data, tolerance : optional
        As for ``model.quantize``.

    Raises
    ------
    FormatError
        If the source cannot be honoured, the target cannot express it, or the outputs differ. What was at ``target``
        is still there.
    ValueError
        If the model cannot be quantized, or the calibration data do not fit it.
    OSError
        If a file cannot be read or written.
    """
    source, target = Path(source), Path(target)
    reader, writer = reader_of(source), torch if to_torch else format_of(target, "write")
    if target.exists() and target.samefile(source):
        raise FormatError(f"{target}: source and target are the same file")
    if to_torch and target.suffix.lower() not in (".safetensors", ".pt", ".pth"):
        raise FormatError(f"{target}: PyTorch's files end in .pt, .pth or .safetensors")
    if modules is not None and reader is not torch:
        raise FormatError(f"{source}: modules are named for PyTorch's files only")
    if quantize is not None and writer is not safetensors:
        raise FormatError(f"{target}: only rnnx' own .safetensors files keep weights of fewer bits")
    for name, value in (("calibration_data", calibration_data), ("tolerance", tolerance)):
        if value is not None and quantize is None:
            raise ValueError(f"convert: `{name}` is for `quantize`, which was not given")
    model: Any
    if reader is torch and writer is torch:
        model = torch.load(source, modules=modules)
    elif reader is torch:
        model = torch.load_model(source, modules=modules)
    else:
        model = reader.load_model(source, compile=False)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"the folder {target.parent} does not exist")
    report = None
    if quantize is not None:
        model, report = _quantized(model, quantize, calibration_data, tolerance)
    with tempfile.TemporaryDirectory(prefix=f".{target.stem}.", dir=target.parent) as folder:
        part = Path(folder) / target.name
        try:
            if writer is torch:
                torch.save(model, part)
            else:
                writer.save_model(model, part)
            done = _verify(model, part, writer)
        except FormatError as error:
            raise FormatError(str(error).replace(str(part), str(target))) from error
        if target.exists():
            part.chmod(target.stat().st_mode & 0o777)
        os.replace(part, target)
    done.quantization = report
    return done


def _quantized(model: Any, mode: str, calibration_data: Any, tolerance: float | None) -> tuple[Any, QuantizationReport]:
    """A quantized copy of a model, and how far its outputs moved."""
    data = calibration_data
    if data is None:
        made = _model_inputs(model, np.random.default_rng(0))
        data = made if model.several_inputs else made[0]
    return next(quantized_copies(model, data, [mode], calibration_data, tolerance))


# ---- Verification ---------------------------------------------------------------------------------------------------


def _verify(model: Any, path: Path, writer: Any) -> Conversion:
    """Read a new file again and compare."""
    random = np.random.default_rng(0)
    notes: list[str] = []
    if isinstance(model, dict):
        again = torch.load(path, options={name: own for name, layer in model.items() if (own := _not_said(layer))})
        pairs = [
            (_run(layer, x), _run(again[name], x)) for name, layer in model.items() for x in _inputs(layer, random)
        ]
        compared = f"{len(model)} modules, each on random input"
    elif writer is torch:
        notes = _not_in_a_state_dict(model)
        copy = clone_model(model)
        torch.load_weights(copy, path)
        pairs, compared = _model_pairs(model, copy, random)
    elif path.suffix.lower() == ".onnx":
        pairs, compared = _onnx_pairs(model, writer.Session(path), random)
    else:
        pairs, compared = _model_pairs(model, writer.load_model(path, compile=False), random)
    largest = 0.0
    for before, after in pairs:
        for a, b in zip(before, after, strict=True):
            if a.shape != b.shape:
                raise FormatError(f"{path}: not written, an output has shape {b.shape} instead of {a.shape}")
            finite = np.isfinite(a)
            if not np.array_equal(finite, np.isfinite(b)):
                raise FormatError(f"{path}: not written, outputs are not finite at different places ({compared})")
            difference = float(np.abs(a[finite].astype(np.float64) - b[finite]).max(initial=0.0))
            if difference > TOLERANCE * max(1.0, float(np.abs(a[finite]).max(initial=0.0))):
                raise FormatError(f"{path}: not written, outputs differ by {difference:.1e} ({compared})")
            largest = max(largest, difference)
    return Conversion(model, largest, compared, notes)


Pair = tuple[list[Array], list[Array]]


def _is_cell(layer: Any) -> bool:
    return hasattr(layer, "get_initial_state")


def _run(model: Any, x: Any) -> list[Array]:
    """Outputs of a model or layer, from a fresh state."""
    for part in (model, *model.sublayers):
        if getattr(part, "stateful", False):
            part.reset_states()
    if _is_cell(model):
        y, states = model(x, model.get_initial_state(len(x)))
        return [y, *states]
    return [np.asarray(part) for part in leaves(model(x))]


def _model_pairs(model: Any, again: Any, random: np.random.Generator) -> tuple[list[Pair], str]:
    """Outputs of two models; their weights if outputs are random also outside of training."""
    x = _model_inputs(model, random)
    given = x if model.several_inputs else x[0]
    if model.plan.draws_noise():
        return [(model.get_weights(), again.get_weights())], "weights, because the model draws noise in every call"
    return [(_run(model, given), _run(again, given))], _shapes(x)


def _onnx_pairs(model: Any, session: Any, random: np.random.Generator) -> tuple[list[Pair], str]:
    x = _model_inputs(model, random)
    feeds = {port.name: part.astype(port.dtype) for port, part in zip(session.inputs, x, strict=True)}
    found = session.run(feeds)
    after = [found[port.name] for port in session.outputs]
    before = _run(model, x if model.several_inputs else x[0])
    return [(before, after[: len(before)])], _shapes(x)


def _shapes(x: Sequence[Array]) -> str:
    return "random input of shape " + ", ".join(str(part.shape) for part in x)


def _layers(model: Any) -> list[Any]:
    """A layer or model and everything inside it."""
    return [model, *(inner for part in model.sublayers for inner in _layers(part))]


def _model_inputs(model: Any, random: np.random.Generator) -> list[Array]:
    """Random inputs of the shapes and types that a model takes."""
    ids = min((part.input_dim for part in _layers(model) if isinstance(part, Embedding)), default=2)
    made: list[Array] = []
    for place, shape in zip(model.plan.inputs, _input_shapes(model), strict=True):
        kind = model.plan.tensors[place].node.layer.value_dtype
        is_ids = kind.kind in "iu" or _feeds_an_embedding(model, place)
        made.append(random.integers(0, ids, shape) if is_ids else random.normal(size=shape).astype(kind))
    return made


def _input_shapes(model: Any) -> list[tuple[int, ...]]:
    """Shapes of inputs with which the layers fit together: the sizes before some of them are fixed.

    Axes that may have any size have the same one, those of a single image different ones if no other way fits.
    """
    shapes = [model.plan.tensors[place].shape for place in model.plan.inputs]
    free = max(shape[1:].count(None) for shape in shapes)
    sizes: Iterable[tuple[int, ...]] = ((size,) * free for size in (SIZE, *range(1, MOST_SIZES)))
    if free == 2 and len(shapes) == 1:
        sizes = chain(sizes, product(range(1, MOST_SIDES), repeat=2))
    usual: list[tuple[int, ...]] = []
    for some in sizes:
        filled = [_filled(shape, some) for shape in shapes]
        usual = usual or filled
        try:
            model.plan.shapes(filled)
        except ValueError:
            continue
        return filled
    return usual


def _filled(shape: Any, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """A shape with a batch, and with sizes where it has none."""
    left = iter(sizes)
    return (shape[0] or BATCH, *(next(left) if n is None else n for n in shape[1:]))


def _feeds_an_embedding(model: Any, place: int) -> bool:
    return any(isinstance(step.layer, Embedding) and place in step.inputs for step in model.plan.steps)


def _inputs(layer: Any, random: np.random.Generator) -> list[Array]:
    """Random input of one layer that was read from a PyTorch file."""
    if isinstance(layer, Model):
        return _model_inputs(layer, random)
    if isinstance(layer, Embedding):
        return [random.integers(0, layer.input_dim, (BATCH, SIZE))]
    first = layer.weights[0].shape
    if isinstance(layer, CONVOLUTIONS):
        shape = (BATCH, *(SIZE + n for n in layer.spans), first[-2] * layer.groups)
        return [random.normal(size=shape).astype(layer.dtype)]
    if isinstance(layer, NORMS):
        return [random.normal(size=(BATCH, SIZE, first[0])).astype(layer.dtype)]
    shape = (BATCH, first[0]) if _is_cell(layer) else (BATCH, SIZE, first[0])
    return [random.normal(size=shape).astype(layer.dtype)]


def _not_said(layer: Any) -> dict[str, Any]:
    """Arguments of a layer from a PyTorch file that a state dict does not hold; see `torch.load`."""
    if isinstance(layer, Model) and is_padded(layer):
        zeros: Any = layer.layers[-2]
        convolution: Any = layer.layers[-1]
        pads = [zeros.padding] if convolution.rank == 1 else zeros.padding
        return {**_not_said(convolution), "padding": [before for before, _ in pads]}
    if isinstance(layer, CONVOLUTIONS):
        return {word: getattr(layer, word) for word in ("strides", "padding", "dilation_rate", "groups")}
    if isinstance(layer, NORMS):
        groups = {"groups": layer.groups} if isinstance(layer, GroupNormalization) else {}
        return {"epsilon": layer.epsilon, **groups}
    if isinstance(layer, (Dense, Embedding)) and len(layer.weights) == 1:
        return {"kind": "Linear" if isinstance(layer, Dense) else "Embedding"}
    plain = next((part for part in _layers(layer) if isinstance(part, (SimpleRNN, SimpleRNNCell))), None)
    return {} if plain is None else {"nonlinearity": plain.activation.name}


def _not_in_a_state_dict(model: Any) -> list[str]:
    """What belongs to the model and has no place in a state dict."""
    notes = ["the file holds weights; how the layers are connected is for your own module to say"]
    for part in _layers(model):
        inner = part.layer if isinstance(part, TimeDistributed) else part
        words = [f"quantization_mode={inner.quantization_mode}"] if inner.quantization_mode else []
        if isinstance(inner, (Dense, Conv1D)) and inner.activation.name != "linear":
            words.append(f"activation={inner.activation.name}")
        if isinstance(inner, Conv1D):
            words += [f"{name}={getattr(inner, name)}" for name in ("strides", "padding", "dilation_rate", "groups")]
        if isinstance(inner, (BatchNormalization, LayerNormalization)):
            words.append(f"eps={inner.epsilon}")
        rate = getattr(part, "rate", None)
        if rate and not part.weights:
            words.append(f"rate={rate}")
        if words and f"{part.name}: {', '.join(words)}" not in notes:
            notes.append(f"{part.name}: {', '.join(words)}")
    return notes
