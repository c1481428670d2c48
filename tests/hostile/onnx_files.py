"""Hostile files of the onnx format."""

from __future__ import annotations

from .kinds import Kind

KINDS: list[Kind] = []
