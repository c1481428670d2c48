"""Keras on PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from peer_keras import KerasPeer


class Peer(KerasPeer):
    """Plain calls, without gradients where none are wanted."""

    def __init__(self, threads: int):
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)

    def versions(self) -> dict[str, str]:
        return {**super().versions(), "torch": torch.__version__}

    def inference(self, layer: Any, x: Any, **call: Any) -> Callable[[], Any]:
        return torch.no_grad()(lambda: layer(x, **call))

    def steps(self, cell: Any, x: Any, states: list[Any]) -> Callable[[], Any]:
        @torch.no_grad()
        def step() -> Any:
            nonlocal states
            y, states = cell(x, states)
            return y

        return step

    def gradient(self, layer: Any, x: Any, dy: Any, **call: Any) -> Callable[[], tuple[Any, Any]]:
        x = x.detach().requires_grad_()
        weights = [v.value for v in layer.trainable_variables]

        def step() -> tuple[Any, Any]:
            y = layer(x, training=True, **call)
            return y, torch.autograd.grad(y, [x, *weights], dy)

        return step
