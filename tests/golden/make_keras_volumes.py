"""Make ``keras_volumes.npz``: layers over volumes, from Keras 3.

Environment: ``pip install keras==3.15.1 torch==2.13.0``.
Command, from the root of the repository: ``python -m tests.golden.make_keras_volumes``.
"""

from __future__ import annotations

import numpy as np

from .keras_torch import record
from .make_keras_blocks import FIRST, Entry, layer_cases
from .store import Case, random_like, save

VOLUME, VOLUME_FIRST = (2, 3, 4, 5, 2), (2, 2, 3, 4, 5)


def volumes() -> list[Entry]:
    """Convolutions, pooling, padding, cropping and up-sampling of volumes."""
    found: list[Entry] = []
    for padding, strides, dilation in [
        ("valid", 1, 1),
        ("same", 1, 2),
        ("same", (2, 1, 2), 1),
        ("valid", (1, 2, 1), 1),
    ]:
        options = {"padding": padding, "strides": strides, "dilation_rate": dilation}
        found += [
            ("Conv3D", {"filters": 3, "kernel_size": [2, 3, 2], "activation": "tanh", **options}, [VOLUME]),
            ("Conv3D", {"filters": 4, "kernel_size": 2, "groups": 2, **options, **FIRST}, [VOLUME_FIRST]),
        ]
    for padding, strides, more in [
        ("valid", 1, None),
        ("valid", 2, None),
        ("same", 2, None),
        ("same", (1, 2, 1), None),
    ]:
        options = {"padding": padding, "strides": strides, "output_padding": more}
        found.append(("Conv3DTranspose", {"filters": 2, "kernel_size": [3, 2, 3], **options}, [VOLUME]))
    for name in ("MaxPooling3D", "AveragePooling3D"):
        found += [
            (name, {"pool_size": 2}, [VOLUME]),
            (name, {"pool_size": [3, 1, 3], "strides": 1, "padding": "same"}, [VOLUME]),
            (name, {"pool_size": [2, 3, 1], "strides": [1, 2, 3], **FIRST}, [VOLUME_FIRST]),
        ]
    for name in ("GlobalMaxPooling3D", "GlobalAveragePooling3D"):
        found += [(name, {}, [VOLUME]), (name, {"keepdims": True, **FIRST}, [VOLUME_FIRST])]
    found += [
        ("ZeroPadding3D", {}, [VOLUME]),
        ("ZeroPadding3D", {"padding": [[1, 0], [0, 2], [1, 1]], **FIRST}, [VOLUME_FIRST]),
        ("Cropping3D", {}, [VOLUME]),
        ("Cropping3D", {"cropping": [[1, 0], [0, 2], [1, 1]], **FIRST}, [VOLUME_FIRST]),
        ("UpSampling3D", {}, [VOLUME]),
        ("UpSampling3D", {"size": [1, 2, 3], **FIRST}, [VOLUME_FIRST]),
    ]
    return found


def conv_lstm_cases(rng: np.random.Generator) -> dict[str, Case]:
    """ConvLSTM3D, with a mask and an initial state, and in both orders of axes."""
    mask = np.array([[0, 1, 1], [1, 0, 1]], dtype=bool)
    both = {"return_sequences": True, "return_state": True, "padding": "same", "strides": [1, 2, 1]}
    cases = {}
    for number, (kwargs, shape, valid, state) in enumerate(
        [
            ({"kernel_size": [1, 2, 2]}, (2, 3, 2, 3, 4, 1), None, None),
            ({"kernel_size": 2, **both}, (2, 3, 2, 3, 3, 1), mask, (2, 2, 3, 2)),
            ({"kernel_size": 2, "activation": "elu", **FIRST}, (2, 3, 1, 2, 3, 3), None, None),
        ]
    ):
        initial = None if state is None else random_like(rng, [(2, *state)] * 2)
        spec = {"class": "ConvLSTM3D", "kwargs": {"filters": 2, **kwargs}}
        x = random_like(rng, [shape], scale=1.0)[0]
        options = {"mask": valid, "initial_state": initial, "masks": {}, "training": False}
        cases[f"ConvLSTM3D-{number}"] = record(spec, rng, x, **options)
    return cases


def main() -> None:
    """Write the file."""
    rng = np.random.default_rng(20268)
    save("keras_volumes", layer_cases(rng, volumes()) | conv_lstm_cases(rng))


if __name__ == "__main__":
    main()
