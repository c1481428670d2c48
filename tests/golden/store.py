"""Golden files: many small named arrays in one ``.npz``, readable with numpy alone.

A file holds *cases*. A case is a JSON-able ``config`` that says what was computed and a dictionary of arrays:
what went in and what came out. All arrays of one dtype lie behind each other in one member of the archive,
equal arrays once, because a zip member each would cost more than the numbers in it.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).parent / "data"


@dataclass
class Case:
    """One computation of a peer.

    Attributes
    ----------
    config : dict
        What was computed: the layer specification and the call.
    arrays : dict of str to array
        Inputs and results. Lists are flattened by `put` into ``name/0``, ``name/1``, ...
    """

    config: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def put(self, name: str, value: Any) -> None:
        """Store an array, or each member of a list of arrays; None is left out."""
        if isinstance(value, (list, tuple)):
            for index, item in enumerate(value):
                self.put(f"{name}/{index}", item)
        elif value is not None:
            self.arrays[name] = np.asarray(value)

    def get(self, name: str) -> np.ndarray | None:
        """Return the array of this name, or None."""
        return self.arrays.get(name)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def listed(self, name: str) -> list[np.ndarray]:
        """Return the arrays stored as a list under this name (an empty list if there are none)."""
        return list(self._members(name))

    def _members(self, name: str) -> Iterator[np.ndarray]:
        index = 0
        while (array := self.arrays.get(f"{name}/{index}")) is not None:
            yield array
            index += 1


def save(name: str, cases: Mapping[str, Case]) -> None:
    """Write ``data/<name>.npz``. The bytes depend on the cases only, so that a rerun shows what changed."""
    chunks: dict[str, list[np.ndarray]] = {}
    used: dict[str, int] = {}
    known: dict[tuple[str, bytes], int] = {}
    index: dict[str, Any] = {}
    for case_name, case in cases.items():
        entries = {}
        for array_name, array in case.arrays.items():
            kind, flat = array.dtype.name, np.ascontiguousarray(array).reshape(-1)
            key = (kind, flat.tobytes())
            if key not in known:
                known[key] = used.get(kind, 0)
                chunks.setdefault(kind, []).append(flat)
                used[kind] = known[key] + flat.size
            entries[array_name] = [kind, known[key], list(array.shape)]
        index[case_name] = {"config": case.config, "arrays": entries}
    members = {kind: np.concatenate(parts) for kind, parts in chunks.items()}
    text = json.dumps(index, separators=(",", ":"))
    path = DATA / f"{name}.npz"
    members = {"index": np.frombuffer(text.encode(), dtype=np.uint8), **members}
    with zipfile.ZipFile(path, "w") as archive:
        for kind, array in members.items():
            info = zipfile.ZipInfo(f"{kind}.npy")
            info.compress_type = zipfile.ZIP_LZMA  # NumPy reads it too, and it is smaller than what NumPy writes
            with archive.open(info, "w") as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    print(f"{path.name}: {len(cases)} cases, {path.stat().st_size / 1024:.0f} KiB")


def load(name: str) -> dict[str, Case]:
    """Read ``data/<name>.npz``."""
    with np.load(DATA / f"{name}.npz", allow_pickle=False) as archive:
        members = {key: archive[key] for key in archive.files}
    index = json.loads(members["index"].tobytes().decode())
    cases = {}
    for case_name, entry in index.items():
        arrays = {}
        for array_name, (kind, start, shape) in entry["arrays"].items():
            size = int(np.prod(shape))
            arrays[array_name] = members[kind][start : start + size].reshape(shape)
        cases[case_name] = Case(entry["config"], arrays)
    return cases


def build_layer(namespace: Any, spec: Mapping[str, Any], **extra: Any) -> Any:
    """Make a layer from a specification, with the layers of Keras or of rnnx alike.

    Parameters
    ----------
    namespace : module
        ``keras.layers``, ``tf_keras.layers`` or ``rnnx.layers``.
    spec : mapping
        ``class``, ``kwargs`` and, for wrappers, ``layer`` (a specification) or ``cells`` (a list of them).
    extra : dict
        More arguments for this layer and all inside it, such as ``dtype``.
    """
    arguments = dict(spec.get("kwargs", {}), **extra)
    inner = []
    if "layer" in spec:
        inner.append(build_layer(namespace, spec["layer"], **extra))
    if "cells" in spec:
        inner.append([build_layer(namespace, cell, **extra) for cell in spec["cells"]])
    return getattr(namespace, spec["class"])(*inner, **arguments)


def random_like(rng: np.random.Generator, shapes: list[tuple[int, ...]], scale: float = 0.6) -> list[np.ndarray]:
    """Draw asymmetric weights that float32 holds exactly, so that both dtypes start from the same numbers."""
    return [(rng.normal(size=shape) * scale + 0.1).astype(np.float32) for shape in shapes]
