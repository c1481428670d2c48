"""Make ``keras_volumes.npz``: layers over volumes, from Keras 3.

Environment: ``pip install keras==3.15.1 torch==2.13.0``.
Command, from the root of the repository: ``python -m tests.golden.make_keras_volumes``.
"""

from __future__ import annotations

import numpy as np

from .make_keras_blocks import FIRST, Entry, layer_cases
from .store import save

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


def main() -> None:
    """Write the file."""
    save("keras_volumes", layer_cases(np.random.default_rng(20268), volumes()))


if __name__ == "__main__":
    main()
