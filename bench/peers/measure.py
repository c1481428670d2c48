"""Check the peers against rnnx, then let them take turns."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import fit
import numpy as np
from client import Client, WorkerError
from problem import Cell, Results

OURS = "rnnx"
FORWARD, GRADIENT = 1e-4, 1e-3  # allowed: absolute, and relative to the largest value
NARROW = 0.25  # with 8-bit weights, against float32
SOME = {  # who has a kind of work, and why the others have not
    "int8": ((OURS, "torch", "onnxruntime"), "float32 only in this comparison"),
    "fit": ((OURS, "keras-jax", "keras-torch"), "no `fit`"),
}


@dataclass(frozen=True)
class Pace:
    """How long to measure: rounds in which all take turns, samples of each in a round, and seconds for these."""

    rounds: int
    samples: int
    seconds: float


@dataclass
class Row:
    """What was found for a cell.

    Attributes
    ----------
    cell : Cell
    seconds : dict
        For each peer the median over all samples.
    rounds : dict
        For each peer the medians of the rounds.
    differences : dict
        For each peer the largest difference of its results from ours, as `differences` gives it.
    remarks : dict
        Why a peer has no time.
    least : float or None
        Seconds that nobody can go below on this machine, as `machine.least_time` gives them.
    gates : float or None
        Seconds for the activations alone, as `machine.gates_time` gives them.
    """

    cell: Cell
    seconds: dict[str, float] = field(default_factory=dict)
    rounds: dict[str, list[float]] = field(default_factory=dict)
    differences: dict[str, dict[str, float]] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)
    least: float | None = None
    gates: float | None = None

    def ratio(self, peer: str) -> float | None:
        """The peer's time over ours."""
        return self.seconds[peer] / self.seconds[OURS] if {peer, OURS} <= self.seconds.keys() else None

    @property
    def fastest(self) -> float:
        """The fastest peer's time."""
        return min(seconds for peer, seconds in self.seconds.items() if peer != OURS)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "name": str(self.cell)}


class Pool:
    """The workers, started when they are first needed and again after they have failed."""

    def __init__(self, pythons: Mapping[str, str], threads: int, log: Path, isa: str = ""):
        self.pythons, self.threads, self.log, self.isa = pythons, threads, log, isa
        self.clients: dict[str, Client] = {}

    def start(self, peer: str) -> Client:
        """A worker of its own for the caller."""
        return Client(peer, self.pythons[peer], self.threads, self.log, self.isa)

    def get(self, peer: str) -> Client:
        if peer not in self.clients:
            self.clients[peer] = self.start(peer)
        return self.clients[peer]

    def drop(self, peer: str) -> None:
        if peer in self.clients:
            self.clients.pop(peer).close()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exception: object) -> None:
        for peer in list(self.clients):
            self.drop(peer)


def differences(expected: Results, found: Results) -> dict[str, float]:
    """Largest differences: absolute for the outputs ``y``, relative to the largest value for gradients."""
    if expected.keys() != found.keys():
        raise ValueError(f"results {sorted(found)} instead of {sorted(expected)}")
    worst = {}
    for name, wanted in expected.items():
        if wanted.shape != found[name].shape:
            raise ValueError(f"{name} has shape {found[name].shape} instead of {wanted.shape}")
        scale = 1.0 if name == "y" else float(np.abs(wanted).max())
        worst[name] = float(np.abs(wanted - found[name]).max()) / scale
    return worst


def disagreement(worst: Mapping[str, float], forward: float = FORWARD) -> str | None:
    """What is too far off; a NaN is."""
    bad = {name: d for name, d in worst.items() if not d <= (forward if name == "y" else GRADIENT)}
    return "disagrees: " + ", ".join(f"{name} by {d:.1e}" for name, d in bad.items()) if bad else None


def load(path: Path) -> Results:
    with np.load(path) as file:
        return dict(file)


def prepared(pool: Pool, row: Row, data: Path) -> list[str]:
    """Prepare all peers and check them against ours: those that can be timed."""
    ours = data.with_name("expected.npz")
    narrow = row.cell.work == "int8"  # and float32 is what all are compared with
    pool.get(OURS).prepare(replace(row.cell, work="sequence") if narrow else row.cell, data, ours)
    expected, ready = load(ours), [] if narrow else [OURS]
    for peer in [name for name in pool.pythons if narrow or name != OURS]:
        able, why_not = SOME.get(row.cell.work, (pool.pythons, ""))
        if peer not in able:
            row.remarks[peer] = why_not
            continue
        result = data.with_name(f"{peer}.npz")
        try:
            reason = pool.get(peer).prepare(row.cell, data, result)
            if reason is None:
                row.differences[peer] = differences(expected, load(result))
                reason = disagreement(row.differences[peer], NARROW if narrow else FORWARD)
        except (WorkerError, ValueError) as error:
            pool.drop(peer)
            reason = f"failed: {error}"
        if reason is None:
            ready.append(peer)
        else:
            row.remarks[peer] = reason
    return ready


def startup(pool: Pool, peer: str, cell: Cell, data: Path) -> list[float]:
    """From the start of a process to its first result."""
    start = time.perf_counter()
    with pool.start(peer) as client:
        client.prepare(cell, data, None)
        return [time.perf_counter() - start]


def measure(pool: Pool, cell: Cell, pace: Pace) -> Row:
    """The row of a cell: ours and the peers take turns in each round."""
    row = Row(cell)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.npz"
        np.savez(data, **(fit.arrays(cell) if cell.work == "fit" else cell.arrays()))
        ready = prepared(pool, row, data)

        def turn(peer: str) -> list[float]:
            if cell.work == "startup":
                return startup(pool, peer, cell, data)
            try:
                times: list[float] = pool.get(peer).ask("time", repeats=pace.samples, seconds=pace.seconds)["times"]
            except WorkerError:
                pool.drop(peer)
                raise
            return times

        take_turns(row, ready, turn, pace.rounds)
    return row


def take_turns(row: Row, peers: list[str], turn: Callable[[str], list[float]], rounds: int) -> None:
    """Fill in the medians; a peer that fails is out."""
    samples: dict[str, list[float]] = {peer: [] for peer in peers}
    for _ in range(rounds):
        for peer in list(samples):
            try:
                times = turn(peer)
            except WorkerError as error:
                row.remarks[peer] = f"failed: {error}"
                del samples[peer]
                row.rounds.pop(peer, None)
                continue
            samples[peer] += times
            row.rounds.setdefault(peer, []).append(statistics.median(times))
    row.seconds = {peer: statistics.median(times) for peer, times in samples.items()}
