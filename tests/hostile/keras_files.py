"""Hostile files of the keras format."""

from __future__ import annotations

from .kinds import Kind

KINDS: list[Kind] = []
