"""What was done to the recurrent layers of a model of another framework."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Report:
    """What `accelerate` did.

    Attributes
    ----------
    swapped : list of str
        Names of the modules or layers that run on rnnx now; "" is the module itself.
    left : dict
        Names of the recurrent ones that do not, and why.
    framework : str
        Whose they are.
    sought : str
        What was looked for.

    Examples
    --------
    >>> from rnnx._report import Report
    >>> print(Report(["encoder"], {"decoder": "it is on cuda:0"}, "PyTorch"))
    encoder: on rnnx
    decoder: left to PyTorch, it is on cuda:0
    """

    swapped: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    framework: str = "its framework"
    sought: str = "recurrent layer"

    def __str__(self) -> str:
        lines = [f"{name or 'the module'}: on rnnx" for name in self.swapped]
        lines += [f"{name or 'the module'}: left to {self.framework}, {why}" for name, why in self.left.items()]
        return "\n".join(lines) or f"no {self.sought} inside"
