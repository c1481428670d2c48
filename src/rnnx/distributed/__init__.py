"""Beyond one process: one model trained by many (MPI), and tables scored by the workers of other engines.

Each engine is an extra, loaded by what needs it: `data_parallel` needs mpi4py (extra ``mpi``); `rnnx.distributed.dask`
(extra ``dask``) and `rnnx.distributed.spark` (extra ``spark``) are imported by their own names.
"""

from rnnx.distributed.data_parallel import data_parallel, rank, size
from rnnx.distributed.ranks import RankError

__all__ = ["RankError", "data_parallel", "rank", "size"]
