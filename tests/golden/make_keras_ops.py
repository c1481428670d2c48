"""Make ``keras_ops.npz``: operations of ``keras.ops`` on arrays, and the models of them as Keras 3 describes them.

Environment: ``pip install keras==3.15.1 torch==2.13.0``.
Command, from the root of the repository: ``python -m tests.golden.make_keras_ops``.
"""

from __future__ import annotations

import importlib
import json
import os
from typing import Any

import numpy as np

from .operations import CALLS
from .store import Case, save

os.environ["KERAS_BACKEND"] = "torch"
keras = importlib.import_module("keras")


def shortened(entry: Any) -> Any:
    """A description without what nobody reads."""
    if isinstance(entry, dict):
        return {
            k: shortened(v) for k, v in entry.items() if k not in ("registered_name", "build_config", "dtype_policy")
        }
    return [shortened(part) for part in entry] if isinstance(entry, list) else entry


def main() -> None:
    rng = np.random.default_rng(31)
    x = rng.normal(size=(2, 5, 4)).astype(np.float32)
    k = rng.integers(0, 4, (2, 5)).astype(np.int32)
    case = Case({"names": list(CALLS)}, {"x": x, "k": k})
    for name, call in CALLS.items():
        found = call(keras.ops, keras.ops.convert_to_tensor(x), keras.ops.convert_to_tensor(k))
        case.put(f"y/{name}", keras.ops.convert_to_numpy(found))
    entries = keras.Input((5, 4), name="x"), keras.Input((5,), dtype="int32", name="k")
    model = keras.Model(entries, [call(keras.ops, *entries) for call in CALLS.values()])
    case.config["model"] = shortened(json.loads(model.to_json()))
    save("keras_ops", {"operations": case})


if __name__ == "__main__":
    main()
