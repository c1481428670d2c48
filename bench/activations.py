"""Every float32 through the engine's tanh and sigmoid, against float64, at every level of this CPU.

    python bench/activations.py [--every 1]

Takes some minutes; ``--every 97`` looks at each 97th number. Prints the largest error in units in the last place and
absolute, and fails beyond 2.5 and 2e-7 (the larger of the two bounds counts for each number).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

import numpy as np

from rnnx import _kernels


def logistic(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def sweep(every: int) -> bool:
    good = True
    for name, function in (("tanh", np.tanh), ("sigmoid", logistic)):
        ulps, absolute, beyond = 0.0, 0.0, 0
        for start in range(0, 2**32, 2**24):
            x = np.arange(start, start + 2**24, every, dtype=np.uint64).astype(np.uint32).view(np.float32)
            x = x[np.isfinite(x)]
            if not len(x):
                continue
            exact = function(x.astype(np.float64))
            error = np.abs(_kernels.activate(name, x) - exact)
            tiny = np.finfo(np.float32).tiny
            ulp = np.spacing(np.maximum(np.abs(exact).astype(np.float32), tiny)).astype(np.float64)
            ulps = max(ulps, float((error / ulp)[np.abs(exact) >= tiny].max(initial=0)))  # of normal numbers
            absolute = max(absolute, float(error.max()))
            beyond += int(np.sum((error > 2.5 * ulp) & (error > 2e-7)))
        print(
            f"{_kernels.ISA:<8} {name:<8} {ulps:.2f} ulp, {absolute:.1e} absolute, {beyond} beyond the bounds",
            flush=True,
        )
        good = good and beyond == 0
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description="Errors of tanh and sigmoid over all of float32.")
    parser.add_argument("--every", type=int, default=1, help="look at each n-th number")
    every = parser.parse_args().every
    if "RNNX_ISA" in os.environ:
        return 0 if sweep(every) else 1
    command = [sys.executable, __file__, "--every", str(every)]
    codes = [subprocess.run(command, env={**os.environ, "RNNX_ISA": isa}).returncode for isa in _kernels.ISA_LEVELS]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
