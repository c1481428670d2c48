"""``rnnx serve`` beside FastAPI with ONNX Runtime and with PyTorch: requests a second and latencies, in turns."""

from __future__ import annotations

import contextlib
import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from load import Load, Measured, closed, paced
from models import KINDS, TOLERANCE, expected, fastapi_request, numbers_in, protocol_request, write
from processes import memory, server

OURS = "rnnx serve"
PEERS = {"onnxruntime": "FastAPI + ONNX Runtime", "torch": "FastAPI + PyTorch"}
CONNECTIONS = 4
MOST_QUEUE = 32  # rows that wait, in the run with too much load
OVERLOAD = 3.0  # times the load that is sustained


def compare(seconds: float, rounds: int) -> bool:
    """Print the table for the docs; whether every answer was right."""
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as running:
        folder, log = Path(place), Path(place) / "log"
        write(folder)
        files = sorted(folder.glob("*.safetensors"))
        _, port = running.enter_context(server(["rnnx", "serve", *files], log))
        runs: dict[tuple[str, str], Load] = {("empty route", OURS): Load(port, "/v2/health/live")}
        for kind in KINDS:
            runs[kind, OURS] = protocol_request(port, kind)
        runs["gru128, bytes", OURS] = protocol_request(port, "gru128", binary=True)
        for package, title in PEERS.items():
            if any(importlib.util.find_spec(one) is None for one in (package, "fastapi")):
                print(f"{title} is left out: it needs {package} and fastapi")
                continue
            words = ["uvicorn", f"fastapi_{package}:app", "--log-level", "warning", "--no-access-log"]
            _, port = running.enter_context(server(words, log, MODELS=place, OMP_NUM_THREADS="1"))
            runs["empty route", title] = Load(port, "/")
            for kind in KINDS:
                runs[kind, title] = fastapi_request(port, kind)
        for (kind, who), load in runs.items():
            status, answer = load.once()
            if status != 200:
                raise RuntimeError(f"{who}, {kind}: {status} {answer[:300]!r}")
            if kind in KINDS:
                np.testing.assert_allclose(numbers_in(answer), expected(folder, kind)[0], atol=TOLERANCE, err_msg=who)
        found: dict[tuple[str, str], list[Measured]] = {key: [] for key in runs}
        for _ in range(rounds):
            for key, load in runs.items():
                found[key].append(closed(load, CONNECTIONS, seconds))
    medians = {key: sorted(some, key=lambda one: one.rate)[rounds // 2] for key, some in found.items()}
    print(f"\n{CONNECTIONS} connections, the median of {rounds} runs of {seconds:g} s in turns, one process each\n")
    print("| request | server | requests/s | p50 ms | p99 ms | p99/p50 | rnnx is faster by |")
    print("|---|---|---|---|---|---|---|")
    bad = 0
    for (kind, who), one in sorted(medians.items(), key=lambda item: list(found).index(item[0])):
        own = medians[kind, OURS]
        ratio = "" if who == OURS else f"{own.rate / one.rate:.2f}"
        print(
            f"| {kind} | {who} | {one.rate:,.0f} | {one.p50 * 1e3:.2f} | {one.p99 * 1e3:.2f} "
            f"| {one.p99 / one.p50:.1f} | {ratio} |"
        )
        bad += sum(n for some in found[kind, who] for status, n in some.statuses.items() if status != 200)
    print(f"\nanswers that were none: {bad}")
    return not bad


def batching(seconds: float) -> bool:
    """What joining requests brings: the dear network with and without, and the rows of a call."""
    rates = {}
    for most in (1, 64):
        with tempfile.TemporaryDirectory() as place:
            folder, log = Path(place), Path(place) / "log"
            write(folder)
            with server(["rnnx", "serve", folder / "big.safetensors", "--max-batch", most], log) as (_, port):
                load = protocol_request(port, "big")
                for connections in (1, 4, 16):
                    one = closed(load, connections, seconds)
                    rates[most, connections] = one.rate
                    text = Load(port, "/metrics").once()[1].decode()
                    rows, calls = (
                        float(text.split(f'rnnx_batch_rows_{what}{{model="big"}} ')[1].split()[0])
                        for what in ("sum", "count")
                    )
                    print(
                        f"at most {most:2} rows, {connections:2} connections: {one.rate:6.0f} requests/s, p50 "
                        f"{one.p50 * 1e3:.1f} ms, p99 {one.p99 * 1e3:.1f} ms, {rows / calls:.1f} rows a call so far"
                    )
    print(f"16 connections: {rates[64, 16] / rates[1, 16]:.2f} times the requests by sharing calls")
    return True


def overload(seconds: float) -> bool:
    """Three times the load that is sustained: what is shed, what it costs, and how soon it is over."""
    with tempfile.TemporaryDirectory() as place:
        folder, log = Path(place), Path(place) / "log"
        write(folder)
        words: list[Any] = ["rnnx", "serve", folder / "big.safetensors", "--max-queue", MOST_QUEUE]
        with server(words, log) as (process, port):
            load = protocol_request(port, "big", binary=True)
            closed(load, 4, seconds / 4)
            alone = closed(load, 1, seconds / 4)
            sustained = closed(load, 16, seconds)
            before = memory(process.pid)
            heavy = paced(load, OVERLOAD * sustained.rate, seconds)
            during = memory(process.pid)
            after = closed(load, 1, seconds / 4)
            end = memory(process.pid)
    strange = {status: n for status, n in heavy.statuses.items() if status not in (200, 429, -1)}
    print(
        f"big, bytes: alone p50 {alone.p50 * 1e3:.1f} ms; sustained {sustained.rate:.0f} requests/s with 16 "
        f"connections, p99 {sustained.p99 * 1e3:.1f} ms\n"
        f"at {OVERLOAD:g} times that: {heavy.rate:.0f} answered a second, p50 {heavy.p50 * 1e3:.1f} ms, p99 "
        f"{heavy.p99 * 1e3:.1f} ms; {heavy.statuses[429]:,} got 429, {heavy.statuses[-1]:,} found no connection, "
        f"others {strange or 'none'}\n"
        f"afterwards: p50 {after.p50 * 1e3:.1f} ms, p99 {after.p99 * 1e3:.1f} ms\n"
        f"memory MB: before {before:.1f}, at its end {during:.1f}, afterwards {end:.1f}"
    )
    return not strange and heavy.statuses[429] > 0
