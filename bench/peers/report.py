"""The Markdown tables."""

from __future__ import annotations

import datetime
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from measure import OURS, Row
from problem import WORKS, Cell


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def about(
    command: Sequence[str], threads: int, versions: Mapping[str, Mapping[str, str]], isa: str = ""
) -> dict[str, Any]:
    """What the figures were measured with."""
    return {
        "cpu": cpu_name() + (f", all held to {isa.upper()}" if isa else ""),
        "system": platform.platform(),
        "date": datetime.date.today().isoformat(),
        "command": " ".join(["python", *command]),
        "threads": threads,
        "versions": {peer: dict(found) for peer, found in versions.items()},
    }


def time_text(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms"


def ratios(rows: Sequence[Row], peer: str) -> list[float]:
    """The peer's ratios where it has one."""
    return [ratio for row in rows if (ratio := row.ratio(peer)) is not None]


def table(rows: Sequence[Row], peers: Sequence[str]) -> str:
    """A table of the ratios of one kind of work: cells down, peers across, then the mean and the worst of each peer.

    Beside our time stands which share of the machine's limit it is.
    """
    shown = [peer for peer in peers if ratios(rows, peer)]
    lines = [f"| cell | {OURS} | of the limit | " + " | ".join(shown) + " |", "|---" * (len(shown) + 3) + "|"]

    def line(name: str, ours: str, share: float | None, values: Sequence[float | None]) -> str:
        cells = ["-" if value is None else f"{value:.2f}" for value in values]
        return f"| {' | '.join([name, ours, '' if share is None else f'{share:.0%}', *cells])} |"

    for row in rows:
        if OURS in row.seconds:
            ours = row.seconds[OURS]
            share = None if row.least is None else row.least / ours
            lines.append(line(str(row.cell), time_text(ours), share, [row.ratio(peer) for peer in shown]))
    found = [ratios(rows, peer) for peer in shown]
    lines.append(line("geometric mean", "", None, [statistics.geometric_mean(values) for values in found]))
    lines.append(line("worst", "", None, [min(values) for values in found]))
    return "\n".join(lines)


def group_of(cell: Cell) -> str:
    """The line of the summary that a cell belongs to."""
    kind = cell.kind.upper()
    if cell.work == "sequence":
        return "sequence, B = 1" if cell.batch == 1 else f"sequence, B = 8 to 128, {kind}"
    if cell.work == "training":
        return f"training step, {kind}"
    if cell.work == "dropout":
        return f"training step with dropout, masks {cell.masks}, H = {cell.units}"
    if cell.work.startswith("ragged"):
        length = "" if cell.timesteps <= 100 else f", T = {cell.timesteps}"
        return ("ragged batch, training" if cell.work == "ragged-training" else "ragged batch") + length
    return {
        "step": "streaming step, B = 1",
        "bidirectional": "two bidirectional layers",
        "fit": "`fit` of a model",
        "int8": "sequence, 8-bit weights",
        "startup": "start of the process",
    }[cell.work]


def summary(rows: Sequence[Row], peers: Sequence[str]) -> str:
    """A line for each kind of work: the fastest peer of each cell (mean and smallest), then the mean of every peer.

    ``limit`` is the mean that the first of these would have at the machine's limit, ``with gates`` what it would have
    if activations took their time as well.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if len(row.seconds) > 1 and OURS in row.seconds:
            groups.setdefault(group_of(row.cell), []).append(row)
    lines = [
        "| work | fastest peer | limit | with gates | smallest | " + " | ".join(peers) + " |",
        "|---" * (len(peers) + 5) + "|",
    ]

    def mean(found: Sequence[float]) -> float | None:
        return statistics.geometric_mean(found) if found else None

    for name, chosen in groups.items():
        best = [row.fastest / row.seconds[OURS] for row in chosen]
        limit = mean([row.fastest / row.least for row in chosen if row.least])
        with_gates = mean([row.fastest / (row.least + row.gates) for row in chosen if row.least and row.gates])
        values = [mean(best), limit, with_gates, min(best), *(mean(ratios(chosen, peer)) for peer in peers)]
        lines.append(f"| {name} | " + " | ".join("-" if v is None else f"{v:.2f}" for v in values) + " |")
    return "\n".join(lines)


def remarks(rows: Sequence[Row]) -> list[str]:
    """Why peers have no figure, each reason once with the number of its cells."""
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        for peer, reason in row.remarks.items():
            counts[peer, reason] = counts.get((peer, reason), 0) + 1
    return [f"- {peer}: {reason} ({count} of {len(rows)} cells)" for (peer, reason), count in counts.items()]


def accuracy(rows: Sequence[Row]) -> str:
    """How far 8-bit weights move outputs, for each that has them."""
    worst: dict[str, float] = {}
    for row in rows:
        for peer, found in row.differences.items():
            worst[peer] = max(worst.get(peer, 0.0), found["y"])
    return "- largest difference from float32: " + ", ".join(f"{peer} {d:.1e}" for peer, d in worst.items())


def markdown(rows: Sequence[Row], peers: Sequence[str], facts: Mapping[str, Any]) -> str:
    """The whole report."""
    others = [peer for peer in peers if peer != OURS]
    text = [
        "# rnnx beside its peers",
        f"Time of each peer over rnnx's (more than 1: rnnx is faster); float32, features = H, {facts['threads']} "
        "thread(s), medians of rounds in which all take turns. The last two lines of a table are over the cells that a "
        "peer has. Every peer's results were checked against rnnx's first.",
        f"{facts['cpu']}, {facts['system']}, {facts['date']}; `{facts['command']}`",
        "\n".join(
            f"- {peer}: " + ", ".join(f"{name} {version}" for name, version in found.items())
            for peer, found in facts["versions"].items()
        ),
        "Geometric means; a peer's is over the cells that it has. No engine can be faster than the multiplications at "
        "the measured peak of the core and the weights at the measured bandwidth of its caches: *limit* is what the "
        "column before it would be then, *of the limit* how close rnnx comes. *With gates*, it has the activations of "
        "the way forward in it, at rnnx's speed of activations alone; calls, states, masks and memory cost nothing.",
        summary(rows, others),
    ]
    for work in WORKS:
        chosen = [row for row in rows if row.cell.work == work]
        if chosen:
            text += [f"## {work}", table(chosen, others)]
            found = [accuracy(chosen)] if work == "int8" else []
            if found := found + remarks(chosen):
                text.append("\n".join(found))
    return "\n\n".join(text) + "\n"
