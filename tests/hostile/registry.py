"""All kinds of hostile files, and what is wrong with an outcome."""

from __future__ import annotations

import re
from pathlib import Path

from . import keras_files, onnx_files, safetensors_files, torch_files
from .kinds import Kind
from .limits import MEMORY, SECONDS, Outcome, unclear

KINDS: list[Kind] = [*safetensors_files.KINDS, *keras_files.KINDS, *torch_files.KINDS, *onnx_files.KINDS]


def complaint(kind: Kind, outcome: Outcome, path: Path) -> str | None:
    """Why an outcome is not as promised; None if it is."""
    if outcome.result not in ("read", "FormatError", "OSError", "FileNotFoundError"):
        return f"ended with {outcome.result}: {outcome.message[:300]}"
    if outcome.seconds > SECONDS or outcome.memory > MEMORY:
        return f"took {outcome.seconds:.1f} s and {outcome.memory / 1e6:.0f} MB"
    if outcome.result == "read":
        return None if kind.refused is None else "was read"
    text = outcome.message
    if (wrong := unclear(text, path)) is not None:
        return wrong
    if kind.refused is not None and re.search(kind.refused, text) is None:
        return f"refused for another reason than {kind.refused!r}: {text[:300]}"
    return None
