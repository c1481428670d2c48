"""Which cells are measured."""

from __future__ import annotations

from fit import MODELS
from problem import WORKS, Cell

HIDDEN = (64, 128, 256, 512)
FULL: dict[str, list[tuple[int, int, int]]] = {  # batch, timesteps, units; each for LSTM and GRU
    "step": [(1, 1, h) for h in (32, *HIDDEN)],
    "sequence": [(b, 100, h) for b in (1, 8, 32, 128) for h in HIDDEN],
    "bidirectional": [(b, 100, h) for b in (1, 32) for h in HIDDEN[:3]],
    "training": [(b, 50, h) for b in (16, 32, 128) for h in HIDDEN],
    "dropout": [(b, 50, h) for b in (16, 32) for h in (32, *HIDDEN[:3])],
    "ragged": [*[(32, 100, h) for h in HIDDEN[:3]], (32, 400, 128), (32, 2000, 128)],
    "ragged-training": [*[(32, 100, h) for h in HIDDEN[:3]], (32, 400, 128), (32, 2000, 128)],
    "int8": [(b, 100, h) for b in (1, 8) for h in HIDDEN[1:]],
    "startup": [(1, 100, 128)],
}
QUICK: dict[str, list[tuple[str, int, int, int]]] = {
    "step": [("lstm", 1, 1, 64), ("gru", 1, 1, 64)],
    "sequence": [("lstm", 1, 100, 64), ("gru", 32, 100, 64)],
    "bidirectional": [("lstm", 1, 100, 64)],
    "training": [("gru", 16, 50, 64)],
    "dropout": [("lstm", 16, 50, 64)],
    "ragged": [("gru", 32, 100, 64)],
    "ragged-training": [("lstm", 32, 100, 64)],
    "int8": [("lstm", 1, 100, 128)],
    "startup": [("lstm", 1, 100, 128)],
}


def cells(works: list[str], quick: bool) -> list[Cell]:
    """All cells of these kinds of work, in the order of `WORKS`; dropout with both kinds of masks."""
    found = []
    for work in [work for work in WORKS if work in works]:
        if work == "fit":
            kinds = ("lstm",) if quick else ("lstm", "gru")
            found += [Cell(work, kind, *shape, model=model) for model, shape in MODELS.items() for kind in kinds]
            continue
        shapes = QUICK[work] if quick else [(kind, *shape) for kind in ("lstm", "gru") for shape in FULL[work]]
        for masks in ("per gate", "shared") if work == "dropout" else ("",):
            found += [Cell(work, *shape, masks) for shape in shapes]
    return found
