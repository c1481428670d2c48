"""PyTorch's threads, which the engine shares where they are OpenMP's.

After each of its operations they wait for the next one busily, for some milliseconds. Threads of the engine beside them
would have half a processor each for so long, in a program whose operations take turns with those of PyTorch.
"""

from __future__ import annotations

import ctypes
import os

import torch

from rnnx import _kernels


def share() -> bool:
    """Let the engine run on PyTorch's threads; False where these are not OpenMP's, or wait idly.

    They wait idly where the environment says ``OMP_WAIT_POLICY=passive``. The engine's own threads are the better ones
    then: no call of the engine waits for a thread that the system does not let run.
    """
    if os.environ.get("OMP_WAIT_POLICY", "").strip().lower() == "passive":
        return False
    try:
        region = ctypes.CDLL(torch._C.__file__).GOMP_parallel  # of the library that PyTorch is linked with
    except (AttributeError, OSError, TypeError):  # TypeError: of what stands for PyTorch while the site is built
        return False
    _kernels.lend_threads(ctypes.cast(region, ctypes.c_void_p).value or 0)
    return True
