"""Make ``g2pm.npz``: the trained network of g2pM, which reads Chinese characters, and what its own engine gives.

Environment: ``pip install g2pM==0.1.2.5`` (Apache-2.0, see ``LICENSE-g2pM.txt``; NumPy only).
Command, from the root of the repository: ``python -m tests.golden.make_g2pm``.

The table of the embedding is cut down to the characters of the sentences below; all other weights are whole and
unchanged, under their names in PyTorch.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import g2pM
import numpy as np

from .store import Case, save

SENTENCES = ("今天天气很好", "我们都喜欢音乐", "他长得很高", "银行在路口", "快乐", "这本书的重点不难找到")


def main() -> None:
    """Write the file."""
    engine: Any = g2pM.G2pM()
    with (Path(g2pM.__file__).parent / "np_ckpt.pkl").open("rb") as file:
        state = pickle.load(file)
    ids = [[engine.char2idx[c] for c in "시" + sentence + "끝"] for sentence in SENTENCES]
    used = sorted({0, *(n for row in ids for n in row)})
    seen: list[Any] = []
    whole = engine.fc_layer
    engine.fc_layer = lambda hidden: seen.append((hidden, whole(hidden))) or seen[-1][1]
    case = Case({"sentences": list(SENTENCES)})
    for number, row in enumerate(ids):
        engine.predict(np.array([row], np.int32), np.arange(len(row)))
        case.put(f"ids/{number}", np.array([used.index(n) for n in row]))
        case.put(f"hidden/{number}", seen[-1][0])
        case.put(f"read/{number}", seen[-1][1].argmax(axis=1))
    for name, array in state.items():
        case.put(f"weights/{name}", array[used] if name == "embedding.weight" else array)
    save("g2pm", {"g2pM": case})


if __name__ == "__main__":
    main()
