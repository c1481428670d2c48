"""The number of what Python files and the compiled engine say to each other: both have it, and it must be the same."""

from __future__ import annotations

INTERFACE = 3  # grows with every change of `_kernels.pyi`, here and where `_kernels.pyx` calls `check_interface`


def check_interface(built_for: int, where: str) -> None:
    """Refuse an engine that was built for other Python files; called by the engine when it is loaded.

    Parameters
    ----------
    built_for : int
        The number that the engine was built with.
    where : str
        Its file.

    Raises
    ------
    ImportError
        If the numbers differ.
    """
    if built_for != INTERFACE:
        raise ImportError(
            f"rnnx: the engine in {where} was built for interface {built_for}, these Python files have {INTERFACE}; "
            "build it again with `python setup.py build_ext --inplace`, or install rnnx again"
        )
