"""Live detection of speech: silero-vad's network behind ``rnnx serve``, fed from a WAV file over a WebSocket.

The weights come from the package silero-vad (MIT licence), of which only one file is needed:

    pip download --no-deps silero-vad && unzip silero_vad-*.whl silero_vad/data/silero_vad_16k.safetensors
    python voice_activity.py make silero_vad/data/silero_vad_16k.safetensors     # writes voice.safetensors
    rnnx serve voice.safetensors
    python voice_activity.py listen recording.wav                                # says when somebody speaks

``listen`` needs the package websockets, which the extra ``serve`` brings. It sends a frame of 32 ms as soon as a
microphone would have it (``--fast``: at once) and prints where speech begins and ends; the server holds the state
between the frames, and one stream for each caller.

The network is that of the package's own code: a spectrum of each frame, four convolutions over its four columns, an
LSTM(128). As a frame always has four columns, spectrum and convolutions are matrices here, and the frames are the steps
of the model.
"""

from __future__ import annotations

import argparse
import json
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

import rnnx
from rnnx import layers, ops

RATE, FRAME, CONTEXT = 16_000, 512, 64  # the last samples of a frame are also the first of the next
WINDOW, HOP, BINS = 256, 128, 129
COLUMNS = 4
STRIDES = {1: 1, 2: 2, 3: 2, 4: 1}  # of the convolutions, whose kernels have three columns, padded by one at each side
SPEECH, SILENCE = 0.5, 0.35  # probabilities at which it begins and ends


def spectrum_matrix(filters: Any) -> Any:
    """The filters (2 * BINS, WINDOW) at all columns of a frame, its end mirrored: (samples, columns * 2 * BINS)."""
    size = CONTEXT + FRAME
    place = np.pad(np.arange(size), (0, CONTEXT), mode="reflect")
    matrix = np.zeros((size, COLUMNS, len(filters)), np.float32)
    for column in range(COLUMNS):
        for k in range(WINDOW):
            matrix[place[column * HOP + k], column] += filters[:, k]
    return matrix.reshape(size, -1)


def convolution_matrix(kernel: Any, columns: int, stride: int) -> Any:
    """A kernel (filters, channels, 3) at all columns: (columns * channels, columns after * filters)."""
    filters, channels, width = kernel.shape
    after = (columns - 1) // stride + 1
    matrix = np.zeros((columns, channels, after, filters), np.float32)
    for column in range(after):
        for k in range(width):
            if 0 <= column * stride + k - 1 < columns:
                matrix[column * stride + k - 1, :, column] = kernel[:, :, k].T
    return matrix.reshape(columns * channels, after * filters)


def network(weights: dict[str, Any]) -> rnnx.Model:
    """The model: frames of 576 samples in, the probability of speech after each out."""
    x = rnnx.Input((None, CONTEXT + FRAME), name="frames")
    filters = weights["stft_conv.weight"][:, 0]
    parts = np.split(spectrum_matrix(filters).reshape(-1, COLUMNS, 2, BINS), 2, axis=2)  # real and imaginary
    values: list[Any] = [part.reshape(len(part), -1) for part in parts]
    real, imaginary = (layers.Dense(COLUMNS * BINS, use_bias=False, name=name)(x) for name in ("real", "imaginary"))
    h, columns = ops.sqrt(real * real + imaginary * imaginary), COLUMNS
    for k, stride in STRIDES.items():
        matrix = convolution_matrix(weights[f"conv{k}.weight"], columns, stride)
        columns = (columns - 1) // stride + 1
        h = layers.Dense(matrix.shape[1], activation="relu", name=f"conv{k}")(h)
        values += [matrix, np.tile(weights[f"conv{k}.bias"], columns)]
    h = layers.LSTM(128, return_sequences=True, name="lstm")(h)
    values += [weights["lstm_cell.weight_ih"].T, weights["lstm_cell.weight_hh"].T]
    values += [weights["lstm_cell.bias_ih"] + weights["lstm_cell.bias_hh"]]
    y = layers.Dense(1, activation="sigmoid", name="speech")(layers.ReLU(name="heard")(h))
    values += [weights["final_conv.weight"][0], weights["final_conv.bias"]]
    model = rnnx.Model(x, y)
    by_layer = iter(values)
    for name in ("real", "imaginary", *(f"conv{k}" for k in STRIDES), "lstm", "speech"):
        layer = model.get_layer(name)
        layer.set_weights([next(by_layer) for _ in layer.get_weights()])
    return model


def frames_of(path: str) -> Iterator[Any]:
    """The frames of a WAV file in 16 bits, each with the samples before it."""
    with wave.open(path) as file:
        if file.getsampwidth() != 2 or file.getframerate() % RATE:
            raise SystemExit(f"{path}: 16 bits at {RATE} Hz or a multiple of it are read")
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())[:, 0]
        times = file.getframerate() // RATE
    sound = samples[: len(samples) // times * times].reshape(-1, times).mean(axis=1).astype(np.float32) / 32768
    before = np.zeros(CONTEXT, np.float32)
    for k in range(len(sound) // FRAME):
        frame = np.concatenate([before, sound[k * FRAME : (k + 1) * FRAME]])
        before = frame[-CONTEXT:]
        yield frame


def listen(path: str, server: str, fast: bool) -> None:
    """Feed a file to the server and print when speech begins and ends."""
    from websockets.sync.client import connect

    with connect(f"ws://{server}/v2/models/voice/stream") as stream:
        hello = json.loads(stream.recv())
        if "error" in hello:
            raise SystemExit(hello["error"])
        begun, speaks, slowest, k = time.perf_counter(), False, 0.0, 0
        for k, frame in enumerate(frames_of(path), 1):
            at = k * FRAME / RATE
            if not fast:
                time.sleep(max(0.0, begun + at - time.perf_counter()))
            sent = time.perf_counter()
            stream.send(frame.tobytes())
            probability = np.frombuffer(stream.recv(), np.float32)[0]
            slowest = max(slowest, time.perf_counter() - sent)
            if speaks != (probability > (SILENCE if speaks else SPEECH)):
                speaks = not speaks
                print(f"{at:7.2f} s  {'speech' if speaks else 'silence'} ({probability:.2f})", flush=True)
    print(f"{k} frames, {k * FRAME / RATE:.1f} s; the slowest answer took {slowest * 1e3:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make", help="write voice.safetensors from the file of silero-vad")
    make.add_argument("weights", metavar="silero_vad_16k.safetensors")
    make.add_argument("--out", default="voice.safetensors")
    hear = commands.add_parser("listen", help="say when somebody speaks in a WAV file")
    hear.add_argument("file")
    hear.add_argument("--server", default="localhost:8000")
    hear.add_argument("--fast", action="store_true", help="without waiting for the clock")
    options = parser.parse_args()
    if options.command == "make":
        network(load_file(Path(options.weights))).save(options.out)
        print(f"wrote {options.out}")
    else:
        listen(options.file, options.server, options.fast)


if __name__ == "__main__":
    main()
