"""Draw the summary of docs/peers.md: for each kind of work how much longer the peers take.

    python scripts/make_speed_picture.py docs/img/speed.svg

The figures are read from the page, so that the picture cannot say anything else. The background is part of the picture,
which is therefore the same on light and on dark pages.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs/peers.md"
PEERS = {
    "torch": ("PyTorch", "#d1495b"),
    "onnxruntime": ("ONNX Runtime", "#2e8b57"),
    "keras-jax": ("Keras (JAX)", "#8d6fd1"),
}
BAR, GREY, INK = "#1f5fa8", "#c9d6e6", "#1b1f24"
LEFT, RIGHT, TOP, ROW, WIDTH = 360, 40, 78, 30, 960
LOW, HIGH = 0.5, 25.0
TICKS = (0.5, 1, 2, 5, 10, 20)


def summary() -> list[dict[str, str]]:
    """The rows of the first table of the page, by the names of its columns."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    first = next(k for k, line in enumerate(lines) if line.startswith("| work |"))
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[first:]]
    rows = []
    for row in cells[2:]:
        if len(row) != len(cells[0]):
            break
        rows.append(dict(zip(cells[0], row, strict=True)))
    return rows


def x_of(ratio: float) -> float:
    """Where a ratio stands, on a logarithmic axis."""
    return LEFT + (WIDTH - LEFT - RIGHT) * math.log(ratio / LOW) / math.log(HIGH / LOW)


def text(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{words.replace("`", "")}</text>'


def bar(start: float, end: float, y: float, height: float, colour: str) -> str:
    low, high = sorted((x_of(start), x_of(end)))
    return f'<rect x="{low:.1f}" y="{y:.1f}" width="{high - low:.1f}" height="{height}" fill="{colour}"/>'


def picture(rows: list[dict[str, str]]) -> str:
    """The whole SVG."""
    bottom = TOP + ROW * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 50}" '
        f'font-family="Helvetica, Arial, sans-serif" font-size="15" fill="{INK}" role="img">',
        "<title>Time of other engines over the time of rnnx, one thread, AMD EPYC with AVX-512</title>",
        f'<rect width="{WIDTH}" height="{bottom + 50}" rx="8" fill="#ffffff"/>',
    ]
    x: float = 20
    for words, colour, wide in (("fastest of eight peers", BAR, 14), ("what any engine could reach", GREY, 14)):
        parts += [f'<rect x="{x}" y="17" width="{wide}" height="14" fill="{colour}"/>', text(x + 22, 29, words)]
        x += 46 + 8.2 * len(words)
    for words, colour in PEERS.values():
        parts += [f'<circle cx="{x + 6}" cy="24" r="5.5" fill="{colour}"/>', text(x + 20, 29, words)]
        x += 40 + 8.4 * len(words)
    for tick in TICKS:
        colour, wide = (INK, 1.6) if tick == 1 else ("#d8dde3", 1)
        at = f'x1="{x_of(tick):.1f}" x2="{x_of(tick):.1f}" y1="{TOP - 12}" y2="{bottom}"'
        parts += [f'<line {at} stroke="{colour}" stroke-width="{wide}"/>']
        parts += [text(x_of(tick), TOP - 18, f"{tick:g}", 'text-anchor="middle"')]
    for k, row in enumerate(rows):
        y = TOP + ROW * k
        parts.append(text(LEFT - 14, y + 19, row["work"], 'text-anchor="end"'))
        fastest = float(row["fastest peer"])
        if row["limit"] != "-":
            parts.append(bar(fastest, float(row["limit"]), y + 5, 18, GREY))
        parts.append(bar(1, fastest, y + 5, 18, BAR))
        for name, (_, colour) in PEERS.items():
            if row[name] != "-":
                at = f'cx="{x_of(float(row[name])):.1f}" cy="{y + 14}"'
                parts.append(f'<circle {at} r="5.5" fill="{colour}" stroke="#ffffff" stroke-width="1.2"/>')
    says = "time of the peer / time of rnnx; right of 1: rnnx is faster"
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, bottom + 30, says, 'text-anchor="middle"'))
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(picture(summary()), encoding="utf-8")
