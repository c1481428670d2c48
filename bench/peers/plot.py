"""One dot chart for each kind of work: ``python plot.py results.json FOLDER``, in the environment with matplotlib."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

MARKERS = "osD^vP*X<>"
OURS = "rnnx"


def draw(rows: list[dict[str, Any]], peers: list[str], title: str, path: Path) -> None:
    """Cells down, the ratios of all peers across on a logarithmic axis; the line at 1 is rnnx."""
    figure, axes = plt.subplots(figsize=(9, 1.6 + 0.32 * len(rows)), layout="constrained")
    for k, peer in enumerate(peers):
        times = [(row["seconds"].get(peer), row["seconds"][OURS]) for row in rows]
        found = [(theirs / ours, y) for y, (theirs, ours) in enumerate(times) if theirs is not None]
        if found:
            axes.plot(*zip(*found, strict=True), MARKERS[k % len(MARKERS)], color=f"C{k}", label=peer, alpha=0.85)
    axes.axvline(1, color="black", linewidth=1.5)
    axes.set_xscale("log")
    ticks = [tick for tick in (0.25, 0.5, 1, 2, 3, 5, 10, 20, 50, 100, 200, 500) if within(tick, axes.get_xlim())]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(alpha=0.3)
    axes.set_xlabel("time of the peer / time of rnnx (right of the line: rnnx is faster)")
    axes.set_title(title)
    figure.legend(loc="outside right upper")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def main(results: Path, folder: Path) -> None:
    """Draw a file of results."""
    found = json.loads(results.read_text())
    peers = [peer for peer in found["about"]["versions"] if peer != OURS]
    for work in dict.fromkeys(row["cell"]["work"] for row in found["rows"]):
        rows = [row for row in found["rows"] if row["cell"]["work"] == work and OURS in row["seconds"]]
        if rows:
            title = f"{work}, {found['about']['threads']} thread(s), {found['about']['cpu']}"
            draw(rows, peers, title, folder / f"{work}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
