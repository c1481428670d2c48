"""An engine that was built for other Python files is refused when it is loaded."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from rnnx import _interface

PACKAGE = Path(__file__).parents[2] / "src/rnnx"  # its sources: what is installed has no `_kernels.pyx`
KNOWN = (3, "a3cf21572f073ff5")  # the number, and what `_kernels.pyi` is with it


def test_the_engine_and_python_have_one_number() -> None:
    calls = re.findall(r"^check_interface\((\d+), __file__\)$", (PACKAGE / "_kernels.pyx").read_text(), re.M)
    assert calls == [str(_interface.INTERFACE)]


def test_another_interface_has_another_number() -> None:
    """Whoever changes what the engine takes or gives raises INTERFACE, the number in `_kernels.pyx`, and this one."""
    digest = hashlib.sha256((PACKAGE / "_kernels.pyi").read_bytes()).hexdigest()[:16]
    assert (_interface.INTERFACE, digest) == KNOWN


def test_an_older_engine_is_refused() -> None:
    with pytest.raises(ImportError, match=r"^rnnx: the engine in /there/_kernels.so was built for interface 0, "):
        _interface.check_interface(0, "/there/_kernels.so")
