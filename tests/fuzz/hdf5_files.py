"""Changes of HDF5 files made with h5py: links, shapes, storage and attributes, in files that remain well formed."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import json_trees
from .json_trees import TIMES

LARGE = (0, 1, 2, 3, 1000, 2**20, 2**24, 2**31, 2**32, 2**40, 2**62)
MOST_AXES = 32  # of HDF5
LONGEST_ATTRIBUTE = 60_000  # bytes in an object's header
REFUSED = (KeyError, OSError, RuntimeError, TypeError, ValueError, OverflowError, MemoryError)  # by h5py: then nothing


def _groups(file: Any) -> list[Any]:
    found = [file]
    file.visititems(lambda _, item: found.append(item) if hasattr(item, "keys") else None)
    return found


def _datasets(file: Any) -> list[Any]:
    found: list[Any] = []
    file.visititems(lambda _, item: None if hasattr(item, "keys") else found.append(item))
    return found


def _placed(dataset: Any) -> tuple[Any, str]:
    """The group of a dataset and its name in it."""
    return dataset.parent, dataset.name.rpartition("/")[2]


def _replaced(dataset: Any, **options: Any) -> None:
    """Another dataset in the place of one."""
    group, name = _placed(dataset)
    del group[name]
    group.create_dataset(name, track_times=False, **options)


def enlarge(file: Any, rng: random.Random) -> None:
    """A dataset of any declared shape, of which no byte is stored."""
    if found := _datasets(file):
        dataset = rng.choice(found)
        shape = list(dataset.shape) or [1]
        way = rng.randrange(4)
        if way == 0:
            shape[rng.randrange(len(shape))] = rng.choice(LARGE)
        elif way == 1:
            shape = [rng.choice(LARGE) for _ in shape]
        elif way == 2:
            shape = [1] * rng.randint(1, MOST_AXES - len(shape)) + shape
        else:
            shape = [rng.choice(LARGE) for _ in range(rng.randint(1, 4))]
        chunks = tuple(max(1, min(n, 64)) for n in shape) if rng.random() < 0.5 and len(shape) < 4 else None
        _replaced(dataset, shape=shape, dtype=dataset.dtype, chunks=chunks)


def restore(file: Any, rng: random.Random) -> None:
    """The same numbers stored in another way: in pieces, filtered, of another type, as one that may grow."""
    if found := _datasets(file):
        dataset = rng.choice(found)
        data = dataset[()]
        if not isinstance(data, np.ndarray) or not data.size or data.dtype.kind not in "fiu":
            return
        types = ("<f4", ">f4", "<f8", "<f2", "<i4", ">i8", "|u1", "|b1", "<c8", "S8", [("a", "<f4"), ("b", "<i8")])
        if rng.random() < 0.3:
            with np.errstate(all="ignore"):
                data = (
                    np.zeros(data.shape, types[-1]) if (kind := rng.choice(types)) is types[-1] else data.astype(kind)
                )
        options: dict[str, Any] = {}
        if data.ndim and rng.random() < 0.8:
            options["chunks"] = tuple(rng.randint(1, n + 2) if rng.random() < 0.7 else n for n in data.shape)
            options["maxshape"] = tuple(None for _ in data.shape)
            options.update(rng.choice((
                {}, {"compression": "gzip", "compression_opts": 9}, {"shuffle": True, "compression": "gzip"},
                {"fletcher32": True}, {"compression": "lzf"}, {"shuffle": True, "fletcher32": True},
            )))  # fmt: skip
        _replaced(dataset, data=data, **options)


def compress(file: Any, rng: random.Random) -> None:
    """Many zeros in few bytes."""
    if found := _datasets(file):
        dataset = rng.choice(found)
        row = dataset.shape[1:]
        count = rng.choice((2**10, 2**14, 2**18)) // max(1, math.prod(row))
        _replaced(dataset, data=np.zeros((count, *row), dataset.dtype), chunks=True, compression="gzip")


def link_up(file: Any, rng: random.Random) -> None:
    """A hard link from a group to one above it: a way without end."""
    group, target = rng.choice(_groups(file)), rng.choice(_groups(file))
    names = list(group)
    name = rng.choice(names) if names and rng.random() < 0.5 else rng.choice(("loop", "layers", "cell", "vars", "0"))
    if name in group:
        del group[name]
    group[name] = target


def link_same(file: Any, rng: random.Random) -> None:
    """One or many hard links to the same group or dataset."""
    group = rng.choice(_groups(file))
    item = rng.choice(_groups(file)[1:] + _datasets(file) or [file])
    names = list(group)
    if names and rng.random() < 0.5:
        name = rng.choice(names)
        del group[name]
        group[name] = item
    else:
        base = rng.choice(names) if names else "x"
        for k in range(rng.choice(TIMES)):
            group[f"{base}_{k}"] = item


def link_soft(file: Any, rng: random.Random) -> None:
    """A link by name: to another object, to nothing, to itself, or to another file."""
    import h5py

    group = rng.choice(_groups(file))
    names = list(group)
    name = rng.choice(names) if names and rng.random() < 0.8 else "soft"
    path = f"{group.name.rstrip('/')}/{name}"
    targets = [path, "/", "/nothing", "." * 500, *(item.name for item in _groups(file) + _datasets(file))]
    if name in group:
        del group[name]
    group[name] = rng.choice((h5py.SoftLink, h5py.SoftLink, lambda p: h5py.ExternalLink("/dev/zero", p)))(
        rng.choice(targets)
    )


def copy_item(file: Any, rng: random.Random) -> None:
    """A group or dataset once more, elsewhere."""
    item, group = rng.choice(_groups(file)[1:] + _datasets(file) or [file]), rng.choice(_groups(file))
    names = list(group)
    name = rng.choice(names) if names and rng.random() < 0.5 else "copy"
    source = item.name
    if name in group and not source.startswith(f"{group.name.rstrip('/')}/{name}"):
        del group[name]
    if name not in group:
        file.copy(source, group, name)


def deepen(file: Any, rng: random.Random) -> None:
    """Many groups inside each other, perhaps of the names that readers follow."""
    group = rng.choice(_groups(file))
    names = list(group)
    name = rng.choice((*names, "layers", "cell", "deep"))
    moved = f"{group.name.rstrip('/')}/{rng.choice(names)}" if names else None
    for _ in range(rng.choice((1, 3, 30, 200))):
        group = group.require_group(name if name not in group else f"{name}_")
    if moved is not None and moved in file and not group.name.startswith(moved):
        file.move(moved, f"{group.name}/moved")


def remove(file: Any, rng: random.Random) -> None:
    """An object or attribute is gone."""
    group = rng.choice(_groups(file))
    kept = group.attrs if rng.random() < 0.5 else group
    if names := list(kept):
        del kept[rng.choice(names)]


def _lists(file: Any) -> list[tuple[Any, str]]:
    found = [(group, name) for group in _groups(file) for name in group.attrs]
    return [(g, n) for g, n in found if isinstance(g.attrs[n], np.ndarray) and g.attrs[n].ndim == 1 and g.attrs[n].size]


def change_list(file: Any, rng: random.Random) -> None:
    """A list of names, such as those of the layers, with entries repeated, swapped, missing or renamed."""
    found = _lists(file)
    if not found:
        return change_attribute(file, rng)
    group, name = rng.choice(found)
    values = [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in group.attrs[name]]
    k, other = rng.randrange(len(values)), rng.randrange(len(values))
    way = rng.randrange(6)
    if way == 0:
        values[k:k] = [values[k]] * rng.choice(TIMES)
    elif way == 1:
        values[k], values[other] = values[other], values[k]
    elif way == 2:
        del values[k]
    elif way == 3:
        values[k] = rng.choice(("", "/", "..", ".", values[k] + "\x1b[2J\n", values[k] * 200, "nothing"))
    elif way == 4:
        values[k] = values[other]
    else:
        values *= rng.choice(TIMES)
    raw = np.array([v.encode("utf-8", "replace") for v in values], "S" if values else "S1")
    if raw.nbytes <= LONGEST_ATTRIBUTE:
        _set(group, name, raw)
    else:  # as Keras does it: name0, name1, ...
        del group.attrs[name]
        for part, piece in enumerate(np.array_split(raw, min(200, raw.nbytes // (LONGEST_ATTRIBUTE // 2) + 1))):
            if piece.nbytes <= LONGEST_ATTRIBUTE:
                group.attrs[f"{name}{part}"] = piece
    return None


def _set(group: Any, name: str, value: Any) -> None:
    if name in group.attrs:
        del group.attrs[name]
    group.attrs[name] = value


def change_attribute(file: Any, rng: random.Random) -> None:
    """An attribute becomes another value, also an empty one or one of many axes, or many attributes."""
    import h5py

    group = rng.choice(_groups(file) + _datasets(file))
    names = list(group.attrs) or ["layer_names"]
    name = rng.choice((*names, *names, "layer_names", "weight_names", "keras_version", "backend"))
    value = rng.choice((
        1, -1, 2.5, "", "text", b"\xff\xfe", "\x1b[2J\n", np.zeros((0,), "S1"), np.zeros((2, 2), "S3"), np.arange(5.0),
        np.zeros((1,) * 20, np.int8), h5py.Empty("f"), np.array(["a", "b"], object), "9" * 4000, [b"a"] * 3000,
        np.zeros(3, [("a", "<f4"), ("b", "<i8")]), group.ref if hasattr(group, "ref") else 0,
    ))  # fmt: skip
    if rng.random() < 0.2:
        for k in range(min(500, rng.choice(TIMES))):
            group.attrs[f"{name}{k}"] = value if np.size(value) < 100 else 1
    else:
        _set(group, name, value)


def change_text(file: Any, rng: random.Random) -> None:
    """The configuration of a model, or of its training, in an attribute."""
    texts = [n for n in ("model_config", "training_config") if n in file.attrs]
    if not texts:
        return change_list(file, rng)
    name = texts[0] if rng.random() < 0.8 else texts[-1]
    text = file.attrs[name]
    _set(file, name, json_trees.changed(text, rng).encode("utf-8", "replace"))
    return None


CHANGES: Sequence[Callable[[Any, random.Random], None]] = (
    enlarge, enlarge, restore, compress, link_up, link_same, link_soft, copy_item, deepen, remove, change_list,
    change_attribute,
)  # fmt: skip


def changed(data: bytes, rng: random.Random, change: Callable[[Any, random.Random], None] | None = None) -> bytes:
    """A file after one or two of the changes, or after the one given; what h5py refuses changes nothing."""
    import h5py

    image = io.BytesIO(data)
    with h5py.File(image, "r+", libver=rng.choice(("earliest", "earliest", "latest"))) as file:
        for act in [change] if change else rng.choices(CHANGES, k=rng.choice((1, 1, 2))):
            try:
                act(file, rng)
            except REFUSED:
                continue
    return image.getvalue()


def changed_model(data: bytes, rng: random.Random) -> bytes:
    """A file of a model whose configuration is changed, or one of weights in which a list is."""
    return changed(data, rng, change_text)
