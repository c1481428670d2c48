"""What a class says about its own ``call``: its arguments, and what the class below it computes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from rnnx.layers.layer import Layer, base_of


class CallSignature:
    """The ``call`` of a class.

    Attributes
    ----------
    signature : inspect.Signature
        Without ``self``.
    parameters : dict
    first : str
        The name of the input.
    training : bool
        Whether it asks for ``training``.
    masks : dict of str
        Arguments that are masks, each with the name of the argument whose mask it is.
    functions : list of callable
        The ``call`` of the class and those of the user's classes that it is derived from.
    says_shape, builds : bool
        Whether one of these classes says the shape of its output itself, and whether one has a ``build``.
    """

    def __init__(self, cls: Any):
        own = own_classes(cls)
        self.functions: list[Callable[..., Any]] = [vars(kind)["call"] for kind in own if "call" in vars(kind)]
        self.says_shape = any("compute_output_shape" in vars(kind) for kind in own)
        self.builds = any("build" in vars(kind) for kind in own)
        parameters = list(inspect.signature(cls.call).parameters.values())[1:]
        self.signature = inspect.Signature(parameters)
        self.parameters = {p.name: p for p in parameters}
        names = [p.name for p in parameters if p.name not in ("training", "mask")]
        self.first = names[0] if names else ""
        anything = any(p.kind is p.VAR_KEYWORD for p in parameters)
        self.training = "training" in self.parameters or anything
        self.takes_mask = "mask" in self.parameters or anything
        self.masks = {f"{name}_mask": name for name in names if f"{name}_mask" in self.parameters}
        default = self.parameters["training"].default if "training" in self.parameters else None
        self.training_default = bool(default) if default not in (None, inspect.Parameter.empty) else False

    def in_order(self, given: dict[str, Any]) -> inspect.BoundArguments:
        """Arguments by their names; what goes into the ``**`` of the signature is put there."""
        extra = [name for name in given if name not in self.parameters]
        if extra:
            place = next((p.name for p in self.parameters.values() if p.kind is p.VAR_KEYWORD), None)
            if place is not None:
                given.setdefault(place, {}).update({name: given.pop(name) for name in extra})
        ordered = {name: given[name] for name in self.parameters if name in given}
        return inspect.BoundArguments(self.signature, ordered)


def signature_of(cls: Any) -> CallSignature:
    """The `CallSignature` of a class; the class keeps it, so that both go together."""
    found: CallSignature | None = vars(cls).get("_call_signature")
    if found is None:
        found = cls._call_signature = CallSignature(cls)
    return found


def own_classes(cls: Any) -> tuple[Any, ...]:
    """A class and those it is derived from, down to the one whose computation its ``call`` builds on."""
    every: tuple[Any, ...] = cls.__mro__
    return every[: every.index(base_of(cls))]


def declare_call(cls: Any) -> None:
    """Note in a new class that its ``call`` says what it computes.

    Raises
    ------
    TypeError
        If it says it in another method too.
    """
    if "forward" in vars(cls):
        provider = next(kind for kind in cls.__mro__ if "call" in vars(kind))
        raise TypeError(
            f"class {cls.__name__}: `forward` and `call` both say how it computes its output; define `call` alone, or "
            f"`forward` in a class without `call` (that of {provider.__name__})"
        )
    if cls.overrides_call:
        return
    base, own = base_of(cls), own_classes(cls)
    if any("vjp" in vars(kind) for kind in own):  # a cell with its own gradient, whose `call` gets arrays
        if base is not Layer:
            raise TypeError(
                f"class {cls.__name__}: `call` and `vjp` beside the forward pass of {base.__name__} would never be "
                "called; leave `vjp` out: the gradient of `call` is found by itself"
            )
        return
    cls.overrides_call, cls.call_is_all = True, base is Layer
    if base is Layer and not any({"compute_mask", "supports_masking"} & vars(kind).keys() for kind in own):
        cls.supports_masking = False
