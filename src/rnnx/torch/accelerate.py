"""Modules that somebody else made, on the engine."""

from __future__ import annotations

import copy
import copyreg
from typing import Any

from torch import nn

from rnnx._config import what_is
from rnnx._report import Report
from rnnx.torch.modules import DTYPES, OnEngine

_rebuild = getattr(copyreg, "_reconstructor")  # noqa: B009  by which pickles of protocol 0 and 1 make every object


class Accelerated(OnEngine):
    """A module of PyTorch that runs on rnnx; copies do too, and pickles are those of PyTorch's module."""

    plain: type[nn.RNNBase]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _rebuild, (self.plain, object, None), self.__getstate__()

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        copied = memo[id(self)] = type(self).__new__(type(self))
        copied.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return copied


class AcceleratedLSTM(Accelerated, nn.LSTM):
    """`torch.nn.LSTM` after `accelerate`."""

    plain = nn.LSTM


class AcceleratedGRU(Accelerated, nn.GRU):
    """`torch.nn.GRU` after `accelerate`."""

    plain = nn.GRU


class AcceleratedRNN(Accelerated, nn.RNN):
    """`torch.nn.RNN` after `accelerate`."""

    plain = nn.RNN


CLASSES: dict[type, type[Accelerated]] = {cls.plain: cls for cls in (AcceleratedLSTM, AcceleratedGRU, AcceleratedRNN)}


def accelerate(module: nn.Module) -> Report:
    """Let every LSTM, GRU and RNN inside a module run on rnnx, in place.

    Parameters, names, ``state_dict``, hooks and optimizers stay what they are. Pickles and checkpoints are those of
    PyTorch's modules and load without rnnx.

    Parameters
    ----------
    module : torch.nn.Module

    Returns
    -------
    Report
        What was swapped, and what was not and why.

    Raises
    ------
    TypeError
        If it is not a module of PyTorch, or one of ``torch.jit``, whose code is fixed.

    Examples
    --------
    >>> import torch, rnnx.torch
    >>> net = torch.nn.Sequential(torch.nn.GRU(3, 4))
    >>> print(rnnx.torch.accelerate(net))
    0: on rnnx
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"accelerate: expected a torch.nn.Module, got {what_is(module)}")
    if type(module).__module__.startswith("torch.jit"):
        raise TypeError("accelerate: the code of a module of torch.jit is fixed; accelerate the module it was made of")
    report = Report(framework="PyTorch", sought="LSTM, GRU or RNN")
    for name, part in module.named_modules():
        if isinstance(part, OnEngine):
            report.swapped.append(name)
        elif type(part) in CLASSES:
            reason = _obstacle(part)
            if reason is None:
                part.__class__ = CLASSES[type(part)]
                report.swapped.append(name)
            else:
                report.left[name] = reason
        elif isinstance(part, nn.RNNBase):
            report.left[name] = f"{type(part).__name__} is a class of its own"
    return report


def _obstacle(part: Any) -> str | None:
    """Why a module stays with PyTorch whatever its input will be, or None."""
    if part.proj_size:
        return "it has projections (proj_size)"
    weight = part._flat_weights[0]
    if weight.device.type != "cpu":
        return f"it is on {weight.device}"
    if weight.dtype not in DTYPES:
        return f"its weights are {weight.dtype}"
    return None
