"""BLAKE2b, without the rest of ``hashlib``: that loads OpenSSL's library, which takes 3 MB of each process."""

from __future__ import annotations

import importlib
from typing import Any


def _implementation() -> Any:
    try:
        return importlib.import_module("_blake2").blake2b
    except (ImportError, AttributeError):  # a Python that is built without it, or has it under another name
        return importlib.import_module("hashlib").blake2b


blake2b = _implementation()
