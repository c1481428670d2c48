"""Threads of the engine and what the processor can."""

from rnnx.runtime.parallel import cpu_info, get_num_threads, set_num_threads, threads

__all__ = ["cpu_info", "get_num_threads", "set_num_threads", "threads"]
