"""Every kind of hostile file at its large size, read under the limits: ``python -m tests.hostile [WORD ...]``."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from .limits import MEMORY, SECONDS, Meter
from .registry import KINDS, complaint


def main(words: list[str]) -> int:
    """Print what came of each kind; 1 if one is beyond the limits."""
    bad = 0
    chosen = [kind for kind in KINDS if not words or any(word in kind.name for word in words)]
    with Meter() as meter, tempfile.TemporaryDirectory() as folder:
        for kind in chosen:
            path = Path(folder) / f"hostile{kind.suffix}"
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)  # what the last one made may be a pipe
            kind.make(path, kind.large)
            outcome = meter.read(path)
            size = sum(part.stat().st_size for part in [path, *path.rglob("*")])
            wrong = complaint(kind, outcome, path)
            bad += wrong is not None
            print(
                f"{kind.name} ({kind.large:,}; {size:,} bytes): {outcome.result}, {outcome.seconds:.2f} s, "
                f"{outcome.memory / 1e6:.0f} MB{f'  <- {wrong}' if wrong else ''}",
                flush=True,
            )
    print(f"{len(chosen)} kinds, {bad} beyond {SECONDS:g} s, {MEMORY / 1e9:.2g} GB or without a clear refusal")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
