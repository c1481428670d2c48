"""rnnx's own file: a safetensors container with the model's configuration in its metadata.

============================  =========================================================================
metadata ``rnnx``             JSON: version of the format and of rnnx, kind (model or weights), class and
                              configuration of the model, and with an optimizer what ``compile`` was given
metadata ``checksum``         BLAKE2b of names, types, shapes and bytes of all tensors and of the JSON
tensor ``weights/<n>``        weight number n of ``model.weights``; of quantized kernels integers of 8 or
                              16 bits, or the bits of bfloat16
tensor ``scales/<n>``         what the columns of these integers are multiplied by
tensor ``optimizer/<name>``   state of the optimizer
tensor ``noise/<n>``          seed and counter of source of noise n
============================  =========================================================================
"""

from __future__ import annotations

import json
import math
import mmap
import os
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from rnnx import __version__, losses, metrics, optimizers
from rnnx._digests import blake2b
from rnnx._mapped import MappedFile, files_of, release
from rnnx._typing import Array
from rnnx.formats import _compiled
from rnnx.formats._limits import (
    DAMAGE,
    JSON_BYTES,
    LONGEST_TRAINING,
    check_regular,
    parse_json,
    printable,
    reading,
    warn_of,
)
from rnnx.layers.layer import MODES_OF_0_1_0, Layer
from rnnx.layers.limits import MOST_AXES, weights_limited
from rnnx.layers.registry import layer_config, layer_from_config
from rnnx.layers.weight import replace_all
from rnnx.quantization import quantizable
from rnnx.quantization.rounding import narrow_form, wide_form
from rnnx.saving import FormatError, write_whole

FORMAT = 2  # 1 has no "int8x16", and that is what "int8" means in it
LONGEST_DESCRIPTION = 16 << 20  # characters: a layer takes some 500
MOST_TENSORS = 100_000
WORTH_A_RELEASE = 1 << 20  # bytes
MOST_NUMBERS = 64  # in the state of a source of noise
TYPES = {"F32": np.float32, "F64": np.float64, "I64": np.int64, "I32": np.int32, "U8": np.uint8, "BOOL": np.bool_,
         "I8": np.int8, "I16": np.int16, "U16": np.uint16}  # fmt: skip


# ---- The container --------------------------------------------------------------------------------------------------


def _checksum(tensors: dict[str, Array], text: str) -> str:
    digest = blake2b(text.encode(), digest_size=16)
    for name in sorted(tensors):
        array = np.asarray(tensors[name], order="C")
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _write(path: Any, tensors: dict[str, Array], description: dict[str, Any], overwrite: bool) -> None:
    from safetensors.numpy import save_file

    try:
        text = json.dumps(description)
    except TypeError as error:
        raise FormatError(f"{path}: the configuration holds something that cannot be saved: {error}") from error
    if len(text) > LONGEST_DESCRIPTION:
        raise FormatError(
            f"{path}: the configuration has {len(text):,} characters, the most is {LONGEST_DESCRIPTION:,}; is there a "
            "layer with a very large vocabulary? Look words up before the model"
        )
    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    metadata = {"rnnx": text, "checksum": _checksum(arrays, text)}
    write_whole(path, lambda part: save_file(arrays, part, metadata), overwrite=overwrite)


def _read(path: Any) -> tuple[dict[str, Array], dict[str, Any]]:
    """Tensors as read-only views of the mapped file, and the description; everything is checked first."""
    file, header, start = _open(path)
    raw = np.frombuffer(file, np.uint8)
    metadata = header.pop("__metadata__", {})
    text, checksum = (metadata.get("rnnx"), metadata.get("checksum")) if isinstance(metadata, dict) else (None, None)
    if not isinstance(text, str) or not isinstance(checksum, str):
        raise FormatError(
            f"{path}: a safetensors file, but not one that rnnx wrote (its metadata has no 'rnnx'); for weights of "
            "PyTorch use rnnx.formats.torch.load(path)"
        )
    data = raw[start:]
    tensors = {}
    for name, (kind, shape, begin, end) in places(path, header, data.size, TYPES).items():
        part, dtype = data[begin:end], np.dtype(TYPES[kind])
        aligned = part.ctypes.data % dtype.itemsize == 0
        tensors[name] = (part.view(dtype) if aligned else np.frombuffer(part.tobytes(), dtype)).reshape(shape)
    if _checksum(tensors, text) != checksum:
        raise FormatError(f"{path}: the file was altered or damaged (its checksum differs)")
    file.checksum, file.holds = checksum, _holds
    if data.size >= WORTH_A_RELEASE:
        release(raw)
    what = "the description of the model"
    description = parse_json(path, text, what, most_bytes=LONGEST_DESCRIPTION)
    if not isinstance(description, dict):
        raise FormatError(f"{path}: the description of the model is damaged: it is not a table")
    version = description.get("format")
    if not isinstance(version, int) or version > FORMAT:
        raise FormatError(
            f"{path}: written in format {version} by rnnx {description.get('rnnx')}, this is rnnx {__version__} "
            f"which reads formats up to {FORMAT}; install a newer rnnx"
        )
    description["quantized"] = '"quantization_mode"' in text  # so that other models need not be looked through
    return tensors, description


def _holds(path: str, checksum: str) -> bool:
    """Whether a file holds tensors and a description with this checksum."""
    with suppress(OSError, *DAMAGE):
        tensors, _ = _read(path)
        return any(file.checksum == checksum for file in files_of(tensors.values()))
    return False


def _open(path: Any) -> tuple[MappedFile, dict[str, Any], int]:
    """The mapped file, its header, and where the data start."""
    check_regular(path)
    with Path(path).open("rb") as file:
        status = os.fstat(file.fileno())
        size = status.st_size
        if size < 8:
            raise FormatError(f"{path}: not a safetensors file, it has only {size} bytes")
        mapped = MappedFile(file.fileno(), 0, access=mmap.ACCESS_READ)
    mapped.path, mapped.status = os.path.abspath(path), status
    raw = np.frombuffer(mapped, np.uint8)
    (length,) = struct.unpack("<Q", raw[:8].tobytes())
    if length > min(JSON_BYTES, raw.size - 8):
        raise FormatError(f"{path}: not a safetensors file, or cut off: a header of {length} bytes in {raw.size} bytes")
    header = parse_json(path, raw[8 : 8 + length].tobytes(), "the header")
    if not isinstance(header, dict):
        raise FormatError(f"{path}: the header is damaged: it is not a table")
    if len(header) > MOST_TENSORS + 1:
        raise FormatError(f"{path}: holds {len(header):,} tensors, the most is {MOST_TENSORS:,}")
    return mapped, header, 8 + int(length)


def places(
    path: Any, header: dict[str, Any], size: int, types: Mapping[str, Any]
) -> dict[str, tuple[str, tuple[int, ...], int, int]]:
    """Name of the type, shape, begin and end of each tensor in the bytes behind the header.

    Parameters
    ----------
    path : path
    header : dict
        Without its metadata.
    size : int
        Bytes behind the header.
    types : mapping
        NumPy types by the names that are read.

    Raises
    ------
    FormatError
        If a tensor is not described as it must be or does not fit its bytes, or for what the format has none of:
        tensors that share bytes, and bytes that belong to no tensor.
    """
    found, spans = {}, {}
    for name, entry in header.items():
        try:
            kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
            for values in (shape, offsets):
                if not isinstance(values, list) or len(values) > MOST_AXES or not set(map(type, values)) <= {int}:
                    raise ValueError(f"at most {MOST_AXES} whole numbers are needed, got {printable(values, 60)}")
            (begin, end), width = offsets, np.dtype(types[kind]).itemsize
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(
                f"{path}: tensor {printable(name)!r} is not described as expected ({printable(error)})"
            ) from error
        fits = 0 <= begin <= end <= size and end - begin == math.prod(shape) * width
        if not fits or not 0 <= min(shape, default=0) <= max(shape, default=0) < 1 << 63:
            raise FormatError(
                f"{path}: tensor {printable(name)!r} of shape {printable(tuple(shape))} does not fit "
                f"{printable(end - begin)} bytes (bytes {printable(begin)}..{printable(end)} of {size}); "
                "is the file cut off?"
            )
        found[name], spans[name] = (kind, tuple(shape), begin, end), (begin, end)
    reached, before = 0, ""
    for (begin, end), name in sorted(zip(spans.values(), spans, strict=True)):
        if begin < reached:
            raise FormatError(f"{path}: tensors {printable(before)!r} and {printable(name)!r} overlap at byte {begin}")
        if begin > reached:
            raise FormatError(f"{path}: bytes {reached}..{begin} belong to no tensor; is the file damaged?")
        reached, before = end, name
    if reached != size:
        raise FormatError(f"{path}: bytes {reached}..{size} belong to no tensor; is the file damaged?")
    return found


# ---- Models ---------------------------------------------------------------------------------------------------------


def _description(kind: str, model: Any) -> dict[str, Any]:
    """What all files say; rnnx 0.1.0 reads those without the modes that it does not know."""
    found = quantizable(model) if kind == "model" and isinstance(model, Layer) else ()
    new = {*MODES_OF_0_1_0, *MODES_OF_0_1_0.values()} & {part.quantization_mode for part in found}
    names = [w.name for w in model.weights]
    return {"format": FORMAT if new else 1, "rnnx": __version__, "kind": kind, "weights": names}


def _weights(model: Any) -> dict[str, Array]:
    if not model.built:
        raise FormatError(f"{model.name}: not built yet, there are no weights to save; call it once first")
    modes = {
        id(weight): part.quantization_mode
        for part in (quantizable(model) if isinstance(model, Layer) else ())
        for weight in part.quantized_weights or []
        if part.quantization_mode
    }
    tensors = {}
    for k, weight in enumerate(model.weights):
        narrow = narrow_form(weight.array, modes[id(weight)]) if id(weight) in modes else None
        tensors[f"weights/{k}"], scales = narrow or (weight.array, None)
        if scales is not None:
            tensors[f"scales/{k}"] = scales
    return tensors


def check(model: Any, path: Any, *, weights_only: bool = False) -> None:
    """See `rnnx.saving.check_kind`."""
    if model is not None and not weights_only:
        try:
            layer_config(model)
        except ValueError as error:
            raise FormatError(f"{path}: {error}") from error


def save_model(model: Any, path: Any, *, include_optimizer: bool | None = None, overwrite: bool = True) -> None:
    """See `rnnx.saving.save_model`."""
    tensors = _weights(model)
    try:
        description = {**_description("model", model), "model": layer_config(model)}
    except ValueError as error:
        raise FormatError(f"{path}: {error}") from error
    if _compiled.says_compiled(model, path, include_optimizer):
        training = _compiled.description(model)
        if training is not None:
            description["training"] = training
            state = model.optimizer.get_state()
            if include_optimizer is None and any(part.quantization_mode for part in quantizable(model)):
                state = {name: value for name, value in state.items() if "/" not in name}  # small files for inference
            tensors.update({f"optimizer/{name}": value for name, value in state.items()})
            for k, generator in enumerate(model.seed_generators()):
                tensors[f"noise/{k}"] = np.array(generator.state, np.int64)
    _write(path, tensors, description, overwrite)


def load_model(path: Any, *, compile: bool = True, custom_objects: dict[str, Any] | None = None) -> Any:
    """See `rnnx.saving.load_model`."""
    with reading(path, "the file is damaged"):
        tensors, description = _read(path)
        if description.get("kind") != "model":
            kind = printable(description.get("kind"))
            raise FormatError(f"{path}: holds {kind}, not a model; use model.load_weights(path)")
        with reading(path, "the model cannot be made"), weights_limited(sum(map(np.size, tensors.values()))):
            model = layer_from_config(description["model"])
        if description["format"] < 2 and description["quantized"]:
            for part in quantizable(model):
                part.quantization_mode = MODES_OF_0_1_0.get(part.quantization_mode or "", part.quantization_mode)
        _put_weights(model, path, tensors)
        training = description.get("training")
        if training is not None and compile:
            with reading(path, "its state of training cannot be restored"):
                custom = _compiled.Custom(custom_objects)
                _restore_training(model, training, tensors, custom)
            if custom.notes:
                warn_of(path, custom.notes)
    return model


def save_weights(model: Any, path: Any, *, overwrite: bool = True) -> None:
    """See `rnnx.saving.save_weights`."""
    _write(path, _weights(model), _description("weights", model), overwrite)


def load_weights(model: Any, path: Any) -> None:
    """See `rnnx.saving.load_weights`."""
    with reading(path, "the file is damaged"):
        tensors, _ = _read(path)
        _put_weights(model, path, tensors)


def _wide(path: Any, name: str, tensors: dict[str, Array]) -> Array:
    """A weight as it was before it was stored in 16 or 8 bits; any other as it is."""
    array, scales = tensors[name], tensors.get(name.replace("weights/", "scales/"))
    if scales is None:
        return wide_form(array, None) if array.dtype == np.uint16 else array
    whole = array.dtype in (np.int8, np.int16) and array.ndim == 2
    if not whole or scales.dtype != np.float32 or scales.shape != array.shape[1:]:
        raise FormatError(
            f"{path}: {name} with scales must be int8 or int16 of shape (inputs, outputs) and the scales float32 "
            f"(outputs,), got {array.dtype} {array.shape} and {scales.dtype} {scales.shape}"
        )
    return wide_form(array, scales)


def _put_weights(model: Any, path: Any, tensors: dict[str, Array]) -> None:
    """Point the weights at the mapped file; all are checked before the first is changed."""
    found = {name: array for name, array in tensors.items() if name.startswith("weights/")}
    for name, array in found.items():
        if array.dtype == np.uint16 or name.replace("weights/", "scales/") in tensors:
            found[name] = _wide(path, name, tensors)
    own = model.weights
    if set(found) != {f"weights/{k}" for k in range(len(own))}:
        raise FormatError(f"{path}: holds {len(found)} weights, the model has {len(own)}")
    for k, weight in enumerate(own):
        array = found[f"weights/{k}"]
        if array.shape != weight.shape or array.dtype != weight.dtype:
            raise FormatError(
                f"{path}: weight {k} ({weight.name}) must be {weight.dtype} of shape {weight.shape}, "
                f"got {array.dtype} {array.shape}"
            )
    replace_all(own, [found[f"weights/{k}"] for k in range(len(own))])


def _restore_training(
    model: Any, training: dict[str, Any], tensors: dict[str, Array], custom: _compiled.Custom
) -> None:
    if (length := len(json.dumps(training))) > LONGEST_TRAINING:
        raise ValueError(f"its description has {length:,} characters, the most is {LONGEST_TRAINING:,}")
    try:
        optimizer = custom.get(training["optimizer"], lambda value: optimizers.get(_with_rate(value, custom)))
        loss = _compiled.each_of(training["loss"], lambda value: custom.get(value, losses.loss_of))
    except _compiled.Unknown as error:
        custom.notes.append(f"not compiled: {error}")
        return
    chosen = {
        word: custom.metrics(training.get(word), metrics.get, (_compiled.Unknown,))
        for word in ("metrics", "weighted_metrics")
    }
    model.compile(**{**training, "optimizer": optimizer, "loss": loss, **chosen})
    state = {name.removeprefix("optimizer/"): a for name, a in tensors.items() if name.startswith("optimizer/")}
    model.optimizer.set_state(state, copy=False)
    for k, generator in enumerate(model.seed_generators()):
        found = tensors[f"noise/{k}"]
        if found.size > MOST_NUMBERS:
            raise ValueError(f"noise/{k} has {found.size:,} numbers")
        generator.state = [int(n) for n in found]


def _with_rate(value: Any, custom: _compiled.Custom) -> Any:
    """The description of an optimizer with the user's function for the learning rate, if it has the name of one."""
    rate = value["config"].get("learning_rate") if isinstance(value, dict) else None
    if not isinstance(rate, dict) or rate.get("class_name") != _compiled.BY_NAME:
        return value
    found = custom.get(rate, lambda name: optimizers.schedules.deserialize({"class_name": name, "config": {}}))
    return {**value, "config": {**value["config"], "learning_rate": found}}


def describe(path: Any) -> dict[str, Any]:
    """What `rnnx info` prints: the description and the sizes of the tensors, without making the model."""
    with reading(path, "the file is damaged"):
        tensors, description = _read(path)
    return {**description, "tensors": {name: (str(a.dtype), a.shape) for name, a in tensors.items()}}
