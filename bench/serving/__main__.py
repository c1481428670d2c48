"""``rnnx serve`` under load: beside FastAPI, with more than it can do, and for long.

    python bench/serving                          # the table: rnnx, FastAPI with ONNX Runtime and with PyTorch
    python bench/serving --profile tiny           # the same in some seconds
    python bench/serving batching                 # what joining requests into calls brings
    python bench/serving overload                 # three times the load that is sustained
    python bench/serving soak --minutes 30        # mixed traffic, every answer checked; --workers 2

It needs the extra ``serve``; the peers need ``pip install fastapi onnxruntime torch`` and are left out without. Load
comes from wrk where that is installed, and from Python otherwise. Server and load share the machine, as always here.
"""

from __future__ import annotations

import argparse
import sys

from compare import batching, compare, overload
from soak import soak


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=["compare", "batching", "overload", "soak"], default="compare")
    parser.add_argument("--profile", choices=["tiny", "full"], default="full")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=30.0, help="of the soak")
    parser.add_argument("--workers", type=int, default=1, help="of the soak")
    options = parser.parse_args()
    if options.profile == "tiny":
        options.seconds, options.rounds, options.minutes = 1.0, 1, 0.1
    if options.what == "soak":
        done = soak(options.minutes, options.workers)
    elif options.what == "compare":
        done = compare(options.seconds, options.rounds)
    else:
        done = {"batching": batching, "overload": overload}[options.what](options.seconds)
    return not done


if __name__ == "__main__":
    sys.exit(main())
