"""rnnx among the thread pools that ``threadpoolctl`` knows.

This module is loaded with rnnx if ``threadpoolctl`` (scikit-learn, joblib) was loaded before; otherwise
``import rnnx.threadpools`` does it. From then on ``threadpool_info()`` lists the engine and ``threadpool_limits`` holds
for it.

Examples
--------
>>> import rnnx.threadpools, threadpoolctl
>>> with threadpoolctl.threadpool_limits(1):
...     rnnx.get_num_threads()
1
"""

from __future__ import annotations

import threadpoolctl

import rnnx
from rnnx import runtime


class Controller(threadpoolctl.LibController):
    """The threads of rnnx' engine, for the whole process; inside ``with rnnx.threads(n)`` it is n all the same."""

    user_api = "rnnx"
    internal_api = "rnnx"
    filename_prefixes = ("_kernels",)
    check_symbols = ("rx_pool_busy",)

    def get_num_threads(self) -> int:
        return runtime.get_num_threads()

    def set_num_threads(self, num_threads: int) -> None:
        runtime.set_num_threads(num_threads)

    def get_version(self) -> str:
        return rnnx.__version__


threadpoolctl.register(Controller)
