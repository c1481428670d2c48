"""The Markdown tables."""

from __future__ import annotations

import datetime
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from measure import OURS, Row
from problem import WORKS


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def about(command: Sequence[str], threads: int, versions: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """What the figures were measured with."""
    return {
        "cpu": cpu_name(),
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
    """A table of the ratios of one kind of work: cells down, peers across, then the mean and the worst of each peer."""
    shown = [peer for peer in peers if ratios(rows, peer)]
    lines = [f"| cell | {OURS} | " + " | ".join(shown) + " |", "|---" * (len(shown) + 2) + "|"]

    def line(name: str, ours: str, values: Sequence[float | None]) -> str:
        cells = ["-" if value is None else f"{value:.2f}" for value in values]
        return f"| {' | '.join([name, ours, *cells])} |"

    for row in rows:
        if OURS in row.seconds:
            lines.append(line(str(row.cell), time_text(row.seconds[OURS]), [row.ratio(peer) for peer in shown]))
    found = [ratios(rows, peer) for peer in shown]
    lines.append(line("geometric mean", "", [statistics.geometric_mean(values) for values in found]))
    lines.append(line("worst", "", [min(values) for values in found]))
    return "\n".join(lines)


def remarks(rows: Sequence[Row]) -> list[str]:
    """Why peers have no figure, each reason once with the number of its cells."""
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        for peer, reason in row.remarks.items():
            counts[peer, reason] = counts.get((peer, reason), 0) + 1
    return [f"- {peer}: {reason} ({count} of {len(rows)} cells)" for (peer, reason), count in counts.items()]


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
    ]
    for work in WORKS:
        chosen = [row for row in rows if row.cell.work == work]
        if chosen:
            text += [f"## {work}", table(chosen, others)]
            if found := remarks(chosen):
                text.append("\n".join(found))
    return "\n\n".join(text) + "\n"
