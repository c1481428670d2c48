"""Make ``curves.npz``: the losses of twenty steps of Adam by Keras 3 and by PyTorch.

Environment: ``pip install keras==3.15.1 torch==2.13.0``.
Command, from the root of the repository: ``python -m tests.golden.make_curves``.
"""

from __future__ import annotations

from .curves import CURVES, keras_curve, torch_curve
from .keras_torch import keras
from .store import Case, save


def main() -> None:
    """Write the file."""
    cases = {}
    for name in CURVES:
        case = Case({})
        case.put("keras", keras_curve(keras, name, "float64"))
        case.put("torch", torch_curve(name, "float64"))
        print(name, abs(case["keras"] - case["torch"]).max())
        cases[name] = case
    save("curves", cases)


if __name__ == "__main__":
    main()
