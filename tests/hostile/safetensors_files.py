"""Hostile files of the safetensors format."""

from __future__ import annotations

from .kinds import Kind

KINDS: list[Kind] = []
