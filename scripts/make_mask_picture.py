"""Draw what each way of dropping does to a batch of sequences.

    python scripts/make_mask_picture.py docs/img/masks.png

Needs matplotlib. The masks are those that the layers draw, multiplied into an input of ones.
"""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import rnnx
from rnnx.layers import GRU, Dropout, SpatialDropout1D

ROWS, STEPS, FEATURES = 2, 16, 8


def through(layer):
    """What is left of ones."""
    return layer(np.ones((ROWS, STEPS, FEATURES), np.float32), training=True)


def drawn(site, seed=11, **options):
    """A mask of a GRU, spread over all steps."""
    layer = GRU(FEATURES, seed=seed, **options)
    layer.build((None, STEPS, FEATURES))
    masks = layer.sample_masks(ROWS, STEPS)
    return np.broadcast_to(getattr(masks, site)[0], (ROWS, STEPS, FEATURES))


PANELS = [
    ("Dropout(0.5)\nfresh at every step", through(Dropout(0.5, seed=3))),
    ("Dropout(0.5, noise_shape=(None, 1, None))\n= SpatialDropout1D(0.5)", through(SpatialDropout1D(0.5, seed=3))),
    (
        "Dropout(0.5, noise_shape=(None, None, 1))\nwhole steps",
        through(Dropout(0.5, noise_shape=(None, None, 1), seed=3)),
    ),
    ("GRU(dropout=0.5)\none pattern for all steps", drawn("inputs", dropout=0.5)),
    ("GRU(recurrent_dropout=0.5)\nthe same, on the state", drawn("recurrent", seed=21, recurrent_dropout=0.5)),
    (
        "GRU(dropout=0.5, noise_shape=(1, 1, None))\none pattern for the batch",
        drawn("inputs", seed=31, dropout=0.5, noise_shape=(1, 1, None)),
    ),
]

figure, axes = plt.subplots(2, 3, figsize=(11, 4.6), constrained_layout=True)
for axis, (title, kept) in zip(axes.flat, PANELS, strict=True):
    gap = np.full((1, STEPS), np.nan)
    picture = np.concatenate([kept[0].T, gap, kept[1].T])
    axis.imshow(picture, cmap="Blues", vmin=0, vmax=2.6, aspect="auto", interpolation="nearest")
    axis.set_title(title, fontsize=9, family="monospace")
    axis.set_xticks([])
    axis.set_yticks([3.5, 12.5], ["row 1", "row 2"], fontsize=8)
    axis.set_xlabel("time →", fontsize=8)
    for side in axis.spines.values():
        side.set_visible(False)
title = f"What is kept (blue) of {FEATURES} features over {STEPS} steps, two sequences (rnnx {rnnx.__version__})"
figure.suptitle(title, fontsize=10)
figure.savefig(sys.argv[1], dpi=110)
