"""Arguments that layers share: dtypes, shapes, masks and seeds, checked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnx._typing import Array
from rnnx.dropout import SeedGenerator

DATA_FORMATS = ("channels_last", "channels_first")
TEXT = np.dtype(object)  # of arrays of strings
LONGEST_TYPE = 16  # characters of the name of a type
DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype(np.float32), "float64": np.dtype(np.float64)}


def check_dtype(who: str, dtype: Any) -> np.dtype[Any]:
    """The dtype of a layer from its name, a type or a Keras dtype policy; None is float32.

    Raises
    ------
    ValueError
        If it is not float32 or float64.
    """
    if isinstance(dtype, dict):  # a Keras dtype policy
        dtype = dtype.get("config", {}).get("name", "float32")
    if isinstance(dtype, str) and dtype in DTYPES:
        return DTYPES[dtype]
    found = dtype_of(dtype)
    if found is None or found.name not in DTYPES:
        raise ValueError(f"{who}: `dtype` must be 'float32' or 'float64', got {repr(dtype)[:100]}")
    return DTYPES[found.name]


def dtype_of(dtype: Any) -> np.dtype[Any] | None:
    """The dtype of one number from its name or a type; None is float32, "string" (also as a type) that of objects.
    None if there is no such type.

    Names alone are given to NumPy: what it takes for a description of structures may be of any length.
    """
    if dtype == "string" or dtype is str or getattr(dtype, "name", None) == "string":
        return TEXT
    if isinstance(dtype, str) and (len(dtype) > LONGEST_TYPE or not dtype.lstrip("<>=|").isalnum()):
        return None
    try:
        return np.dtype("float32" if dtype is None else dtype)
    except (TypeError, ValueError):
        return None


def given_shape(who: str, kwargs: dict[str, Any], axes: int = 1) -> tuple[tuple[int | None, ...] | None, int | None]:
    """The shape of one sample and the batch size from any of the ways to give them, which are taken out of ``kwargs``.

    ``axes`` is how many axes a sample has of which ``input_dim`` alone gives the last.

    Raises
    ------
    ValueError
        If a size is neither None nor an integer of at least 0.
    """
    shape, batch_size = kwargs.pop("input_shape", None), None
    for name in ("batch_input_shape", "batch_shape"):
        full = kwargs.pop(name, None)
        if full is not None:
            if not isinstance(full, (list, tuple)) or not full:
                raise ValueError(f"{who}: `{name}` must be a tuple with the batch axis first, got {full!r}")
            batch_size, *shape = full
    width, length = kwargs.pop("input_dim", None), kwargs.get("input_length")
    if shape is None and width is not None:
        shape = (*(None,) * (axes - 1), width) if length is None else (length, width)
    if shape is None:
        return None, None
    sizes = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    for size in (batch_size, *sizes):
        if size is not None and (isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 0):
            raise ValueError(f"{who}: `input_shape` must hold positive integers or None, got {sizes}")
    checked = tuple([None if size is None else int(size) for size in sizes])
    return checked, None if batch_size is None else int(batch_size)


def as_mask(who: str, mask: Any) -> NDArray[np.bool_]:
    """A mask from an array of any numbers, 0 being masked.

    Raises
    ------
    TypeError
        If it holds no numbers.
    """
    found = np.asarray(mask)
    if found.dtype.kind == "b":
        return found
    if found.dtype.kind not in "iuf":
        raise TypeError(f"{who}: `mask` must be boolean (True = use) or numbers (0 = do not), got dtype {found.dtype}")
    return found != 0


def as_masks(who: str, mask: Any, several: bool) -> Any:
    """`as_mask` of one mask, or of every one in a list of masks of several inputs; None stays."""
    if several and isinstance(mask, (list, tuple)):
        return [None if own is None else as_mask(who, own) for own in mask]
    return None if mask is None else as_mask(who, mask)


def check_mask(who: str, mask: Any, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A time mask that fits values of this shape, whose last axis is that of the features.

    Raises
    ------
    TypeError
        If the mask is not boolean.
    ValueError
        If its shape is not that of the leading axes.
    """
    found = np.asarray(mask)
    if found.dtype != np.bool_:
        raise TypeError(f"{who}: `mask` must be boolean, got dtype {found.dtype}; use mask != 0")
    if found.ndim < 1 or found.ndim >= len(shape) or found.shape != shape[: found.ndim]:
        raise ValueError(f"{who}: `mask` must have shape {shape[: max(1, min(2, len(shape) - 1))]}, got {found.shape}")
    return found


def starting_mask(who: str, x: Array, mask: Any, lengths: Any) -> Any:
    """The time mask of an input from a mask or the number of valid steps of each row; None without either."""
    if mask is not None and lengths is not None:
        raise ValueError(f"{who}: give `mask` or `lengths`, not both")
    if lengths is None:
        return mask
    lengths = np.asarray(lengths)
    if lengths.dtype.kind not in "iu" or lengths.shape != x.shape[:1]:
        raise ValueError(
            f"{who}: `lengths` must be integers of shape (batch,) = {x.shape[:1]}, got {lengths.dtype} {lengths.shape}"
        )
    if lengths.size and (lengths.min() < 0 or lengths.max() > x.shape[1]):
        raise ValueError(
            f"{who}: `lengths` must lie in 0..{x.shape[1]} (timesteps), got {lengths.min()}..{lengths.max()}"
        )
    return np.arange(x.shape[1]) < lengths[:, None]


def check_data_format(who: str, data_format: Any) -> str:
    """Where the features of an input stand; None is the last axis.

    Raises
    ------
    ValueError
        If it is neither "channels_last" nor "channels_first".
    """
    if data_format is None:
        return DATA_FORMATS[0]
    if data_format not in DATA_FORMATS:
        raise ValueError(f"{who}: `data_format` must be one of {DATA_FORMATS}, got {data_format!r}")
    return str(data_format)


def check_sequence_shape(layer: Any, input_shape: Any, features: int | None = None) -> None:
    """Refuse an input shape that is not (batch, timesteps, features), with these features if they are known."""
    shape = tuple(input_shape)
    if len(shape) != 3 or (features is not None and shape[-1] not in (None, features)):
        wanted = f"(batch, timesteps, {'features' if features is None else features})"
        raise ValueError(f"{layer.name}: the input must have shape {wanted}, got {shape}{sequence_hint(wanted, shape)}")


def generator_of(seed: Any) -> SeedGenerator:
    """A source of noise from a seed, a generator, or what `seed_config` made of it."""
    if isinstance(seed, dict):
        seed = SeedGenerator(**seed.get("config", seed))
    return SeedGenerator.of(seed)


def seed_config(seed: int | None, generator: SeedGenerator) -> Any:
    """The seed; with the name of its stream if that is not the usual one."""
    if generator.stream == "rnnx":
        return seed
    return {"class_name": "SeedGenerator", "config": {"seed": generator.seed, "stream": generator.stream}}


def as_strings(who: str, x: Any, encoding: str = "utf-8") -> Array:
    """An array of strings, bytes decoded.

    Raises
    ------
    TypeError
        If something in it is no string.
    """
    array = np.asarray(x) if not isinstance(x, (list, tuple)) else _object_array(who, x)
    if array.dtype.kind == "U":
        return array
    if array.dtype.kind == "S":
        return np.char.decode(array, encoding)
    if array.dtype.kind == "T":  # NumPy's strings of any length
        return array.astype(object)
    if not array.size and array.dtype.kind in "fO":
        return array.astype(object)
    if array.dtype.kind != "O":
        raise TypeError(f"{who}: texts must be strings, got {type(array.reshape(-1)[0].item()).__name__}")
    flat = array.reshape(-1).tolist()
    for kind in {type(value) for value in flat} - {str, bytes, np.str_, np.bytes_}:
        raise TypeError(f"{who}: texts must be strings, got {kind.__name__}")
    if any(isinstance(value, bytes) for value in flat):
        array = np.empty(array.shape, object)
        decoded = [value.decode(encoding) if isinstance(value, bytes) else value for value in flat]
        array.reshape(-1)[:] = decoded
    return array


def sequence_hint(wanted: str, shape: Any) -> str:
    """The end of an error about a shape that has no axis of steps, or none of features."""
    if "timesteps" not in wanted or len(shape) != 2:
        return ""
    return (
        "; a recurrent layer before this one needs return_sequences=True, sequences of numbers x[..., None], one "
        "sequence alone x[None]"
    )


def lone_hint(wanted: tuple[int | None, ...], got: tuple[int, ...]) -> str:
    """The end of an error about a shape, where only the axis of the batch, the first one of ``wanted``, is missing."""
    alone = len(got) == len(wanted) - 1 and all([n in (None, size) for n, size in zip(wanted[1:], got, strict=True)])
    return "; one sample alone is x[None]" if alone else ""


def kind_of(array: Array) -> str:
    """What an array of the wrong dtype is, in an error; for texts with the way out."""
    if array.dtype.kind in "UST" or (
        array.dtype.kind == "O" and array.size and isinstance(array.flat[0], (str, bytes))
    ):
        return f"dtype {array.dtype}; layers.TextVectorization and layers.StringLookup make ids of texts"
    return f"dtype {array.dtype}"


def _object_array(who: str, x: Any) -> Array:
    """Nested lists of strings, each kept at its own length."""
    try:
        return np.array(x, object)
    except ValueError as error:
        raise ValueError(f"{who}: the input is not one array: its rows differ in length") from error


def as_integers(who: str, x: Any) -> Array:
    """Integers, also from floats that are whole.

    Raises
    ------
    TypeError
        If they are none.
    """
    array = np.asarray(x)
    if array.dtype.kind in "iu":
        return array
    if array.dtype.kind not in "fb" or not np.array_equal(array, np.trunc(array)):
        raise TypeError(f"{who}: the input must be integers, got dtype {array.dtype}")
    return array.astype(np.int64)
