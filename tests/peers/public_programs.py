"""Public programs of PyTorch, with one line changed: their results and times with it and without.

``python -m tests.peers.public_programs NAME`` prints both as JSON; the programs must be importable (see
``test_public_programs.py``).
"""

from __future__ import annotations

import copy
import json
import sys
import time
import types
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import rnnx.torch


def shortest(call: Callable[[], Any]) -> float:
    """Shortest time of five."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def resemblyzer() -> dict[str, Any]:
    """Resemblyzer's voice encoder, three LSTMs of 256 units, with the trained weights of the package."""
    for name in ("librosa", "webrtcvad"):  # it reads sound files by them, which is not needed here
        sys.modules.setdefault(name, types.ModuleType(name))
    from resemblyzer.voice_encoder import VoiceEncoder

    plain, ours = (VoiceEncoder("cpu", verbose=False) for _ in range(2))
    report = rnnx.torch.accelerate(ours)
    mels = torch.rand(8, 160, 40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        difference = float((plain(mels) - ours(mels)).abs().max())
        seconds = [shortest(lambda model=model: model(mels)) for model in (plain, ours)]
    return {"swapped": report.swapped, "difference": difference, "seconds": seconds}


def recurrent_ppo() -> dict[str, Any]:
    """sb3-contrib's RecurrentPPO learns CartPole from random weights; the policies after 256 steps are compared."""
    from sb3_contrib import RecurrentPPO

    policies, seconds, swapped, episodes = [], [], [], []
    for on_rnnx in (False, True):
        options = dict(seed=3, n_steps=64, batch_size=32, n_epochs=2, device="cpu")
        model = RecurrentPPO("MlpLstmPolicy", "CartPole-v1", policy_kwargs={"lstm_hidden_size": 32}, **options)
        if on_rnnx:
            swapped = rnnx.torch.accelerate(model.policy).swapped
        start = time.perf_counter()
        model.learn(256)
        seconds.append(time.perf_counter() - start)
        policies.append(model.policy.state_dict())
        episodes.append([episode["l"] for episode in model.ep_info_buffer])
    plain, ours = policies
    difference = max(float((plain[name] - ours[name]).abs().max()) for name in plain)
    return {
        "swapped": swapped,
        "difference": difference,
        "seconds": seconds,
        "same_episodes": episodes[0] == episodes[1] and len(episodes[0]) > 0,
    }


def neuralhydrology() -> dict[str, Any]:
    """neuralhydrology's CudaLSTM on a year of days, random weights: the gradients too, against float64."""
    from neuralhydrology.modelzoo.cudalstm import CudaLSTM
    from neuralhydrology.utils.config import Config

    config = Config(
        {
            "experiment_name": "rnnx",
            "model": "cudalstm",
            "head": "regression",
            "hidden_size": 64,
            "dynamic_inputs": ["p", "t", "r"],
            "target_variables": ["q"],
            "output_dropout": 0.0,
            "initial_forget_bias": 3,
            "seq_length": 365,
            "predict_last_n": 1,
        }
    )
    torch.manual_seed(0)
    plain = CudaLSTM(config)
    ours, exact = copy.deepcopy(plain), copy.deepcopy(plain).double()
    report = rnnx.torch.accelerate(ours)
    x = {name: torch.randn(16, 365, 1) for name in ("p", "t", "r")}

    def step(model: torch.nn.Module, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
        model.zero_grad()
        y = model({"x_d": {name: value.to(dtype) for name, value in x.items()}})["y_hat"]
        y.pow(2).mean().backward()
        return [y, *(weight.grad for weight in model.parameters())]

    right = step(exact, torch.float64)
    errors = []
    for model in (plain, ours):
        found = zip(step(model), right, strict=True)
        errors.append(max(float((a - b).abs().max() / b.abs().max().clamp(1e-30)) for a, b in found))
    seconds = [shortest(lambda model=model: step(model)) for model in (plain, ours)]
    return {"swapped": report.swapped, "difference": errors[1], "of_pytorch": errors[0], "seconds": seconds}


PROGRAMS: dict[str, Callable[[], dict[str, Any]]] = {
    "resemblyzer": resemblyzer,
    "recurrent_ppo": recurrent_ppo,
    "neuralhydrology": neuralhydrology,
}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    np.random.seed(0)
    print(json.dumps(PROGRAMS[sys.argv[1]]()))
