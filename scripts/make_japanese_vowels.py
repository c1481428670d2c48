"""Make the data set that ships in the package from the files of the aeon wheel.

    pip download --no-deps aeon==1.6.0 && unzip -q aeon-1.6.0-*.whl 'aeon/datasets/data/JapaneseVowels/*'
    python scripts/make_japanese_vowels.py aeon/datasets/data/JapaneseVowels src/rnnx/datasets/japanese_vowels.npz
"""

import sys
from pathlib import Path

import numpy as np


def read(path):
    """Sequences (timesteps, 12) and speakers 0..8 of a .ts file."""
    sequences, speakers = [], []
    lines = path.read_text().splitlines()
    for line in lines[lines.index("@data") + 1 :]:
        *dimensions, speaker = line.split(":")
        sequences.append(np.array([d.split(",") for d in dimensions], np.float32).T)
        speakers.append(int(speaker) - 1)
    return sequences, speakers


folder, target = Path(sys.argv[1]), sys.argv[2]
arrays = {}
for part in ("train", "test"):
    sequences, speakers = read(folder / f"JapaneseVowels_{part.upper()}.ts")
    arrays[f"{part}_frames"] = np.concatenate(sequences)
    arrays[f"{part}_lengths"] = np.array([len(s) for s in sequences], np.int16)
    arrays[f"{part}_speakers"] = np.array(speakers, np.int8)
np.savez_compressed(target, **arrays)
