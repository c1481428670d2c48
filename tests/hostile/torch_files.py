"""Hostile files of the torch format."""

from __future__ import annotations

from .kinds import Kind

KINDS: list[Kind] = []
