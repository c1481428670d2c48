from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray as _NDArray
from typing_extensions import disjoint_base

from rnnx.dropout import DropoutMasks

_Array = _NDArray[Any]

ACTIVATIONS: dict[str, int]
CELLS: dict[str, int]
GATES: dict[str, int]
ISA: str
ISA_LEVELS: list[str]
WEIGHTS: dict[str, int]
PLANE_STEP: int
LARGEST: dict[str, int]
MAX_THREADS: int
ROWS_TOGETHER: int
MOST_ROWS: int
MIN_ROWS_OF_PART: int
__test__: dict[str, str]

def windows(units: int, blocks: int, panel: int) -> tuple[_NDArray[np.intp], int]: ...
def places_in_windows(units: int, blocks: int, panel: int) -> tuple[_NDArray[np.intp], _NDArray[np.bool_]]: ...

@final
class Packed:
    dtype: np.dtype[Any]
    narrow: bool
    forward_only: bool
    products: int
    blocks: int
    table_bytes: int
    def prepare(self) -> None: ...
    def panel_forms(self) -> list[tuple[tuple[int, ...], np.dtype[Any]]]: ...
    def pack_into(self, which: int, panels: _Array) -> None: ...
    def made_panels(self) -> list[_Array | None]: ...
    def adopt(self, panels: list[_Array]) -> None: ...
    def table(self, rows: _Array) -> _Array: ...
    @property
    def features(self) -> int: ...
    @property
    def units(self) -> int: ...
    def __init__(
        self,
        cell: str,
        kernel: _Array,
        recurrent_kernel: _Array,
        bias: _Array | None,
        activation: str,
        recurrent_activation: str,
        weights: str = "full",
        peepholes: _Array | None = None,
        clip: float = 0,
        coupled: bool = False,
        columns: tuple[int, int, int] = (0, 1, 2),
        blocks: int = 1,
        scales: tuple[_Array | None, _Array | None] = (None, None),
    ) -> None: ...

@final
class Plan:
    batch: int
    timesteps: int
    steps: int
    total: int
    backwards: bool
    valid: _NDArray[np.uint8] | None
    row_counts: _NDArray[np.intp] | None
    ended: _NDArray[np.bool_] | None
    packed: bool
    def __init__(
        self,
        batch: int,
        timesteps: int,
        valid: _NDArray[np.bool_] | None = None,
        backwards: bool = False,
        reset: _NDArray[np.bool_] | None = None,
        batch_sizes: _NDArray[np.integer[Any]] | None = None,
    ) -> None: ...

@final
class Call:
    packed: Packed
    plan: Plan
    zero_masked: bool
    recompute: bool
    spent: bool

@final
class Turn:
    def __enter__(self) -> Turn: ...
    def __exit__(self, *_: object) -> None: ...

@final
class Stop:
    """Ends the calls of another thread."""

    def ask(self) -> None: ...
    def __enter__(self) -> Stop: ...
    def __exit__(self, *_: object) -> None: ...

@disjoint_base
class Link:
    """What can stand in a `Chain`."""

@final
class Stepper(Link):
    state: tuple[_Array, ...]
    moved: bool
    changes: int
    packed: Packed
    cast: Callable[[Any], _Array] | None
    def __init__(
        self, packed: Packed, batch: int, masks: DropoutMasks | None = None, turn: Turn | None = None
    ) -> None: ...
    def look_up(self, table: _Array) -> None: ...
    def clear(self, rows: _Array) -> None: ...
    def step(self, x: Any, out: _Array | None = None) -> _Array: ...

@final
class RowStates:
    packed: Packed
    def __init__(self, packed: Packed) -> None: ...
    def look_at(self, stepper: Stepper) -> None: ...
    def reserve(self, capacity: int) -> None: ...
    def clear(self, rows: _Array) -> None: ...
    def read(self, rows: Any) -> tuple[_Array, ...]: ...
    def write(self, rows: Any, parts: Sequence[_Array]) -> None: ...

@final
class RowChain:
    features: int
    units: int
    products: int
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def __init__(self, links: list[tuple[Any, ...]], table: _Array | None = None) -> None: ...
    def step(
        self,
        rows: _Array,
        x: Any,
        out: _Array | None = None,
        threads: int = 1,
        cast: Callable[[Any], _Array] | None = None,
    ) -> _Array: ...

@final
class Roster:
    capacity: int
    count: int
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    def reserve(self, capacity: int) -> None: ...
    def open(self, now: float) -> int: ...
    def close(self, rows: _Array) -> None: ...
    def has(self, id: int) -> bool: ...
    def rows(self, ids: _Array, who: str) -> _Array: ...
    def touch(self, rows: _Array, now: float) -> None: ...
    def ids(self, until: float = ..., most: int = -1) -> _Array: ...
    def snapshot(self) -> tuple[_Array, _Array, _Array]: ...
    def restore(self, taken: _Array, ids: _Array, times: _Array) -> None: ...

def ids_of_list(values: list[Any]) -> _Array | None: ...
def rows_by_name(names: list[Any], y: _Array) -> dict[Any, _Array]: ...
def stack_rows(values: list[Any], width: int, dtype: np.dtype[Any]) -> _Array | None: ...

@final
class PackedDense:
    dtype: np.dtype[Any]
    features: int
    units: int
    products: int
    def __init__(self, kernel: _Array, bias: _Array | None, weights: str = "full") -> None: ...
    def prepare(self) -> None: ...
    def panel_forms(self) -> list[tuple[tuple[int, ...], np.dtype[Any]]]: ...
    def pack_into(self, which: int, panels: _Array) -> None: ...
    def made_panels(self) -> list[_Array | None]: ...
    def adopt(self, panels: list[_Array]) -> None: ...
    def apply(self, x: _Array) -> _Array: ...

@final
class PackedBytes:
    terms: int
    columns: int
    def __init__(self, right: _NDArray[np.int8], zeros: _NDArray[np.int32] | None = None) -> None: ...
    def apply(self, left: _NDArray[np.uint8], zero: int | _Array = 0) -> _NDArray[np.int32]: ...
    def sums(self, left: _Array, zero: int | _Array = 0) -> _NDArray[np.int32]: ...
    def floats(
        self,
        left: _Array,
        zero: int,
        scale: _Array,
        bias: _Array | None = None,
        added: _Array | None = None,
        activation: str | None = None,
    ) -> _NDArray[np.float32]: ...
    def rounded(
        self,
        left: _Array,
        zero: int,
        scale: _Array,
        shift: int,
        with_sign: bool,
        added: _Array | None = None,
        then: tuple[_Array, float, float, float] | None = None,
        table: _Array | None = None,
    ) -> _NDArray[Any]: ...
    def of_floats(
        self, x: _Array, scale: _Array, bias: _Array | None = None, activation: str | None = None
    ) -> _NDArray[np.float32]: ...

def rounded_floats(x: _NDArray[np.float32], scale: float, zero: int, with_sign: bool) -> _NDArray[Any]: ...
def ranged_bytes(x: _Array) -> tuple[_NDArray[np.uint8], float, int]: ...
def combined_bytes(
    a: _Array,
    b: _Array,
    product: bool,
    scale_a: float,
    scale_b: float,
    shift: float,
    zero_a: int,
    zero_b: int,
    zero: int,
    with_sign: bool,
) -> _NDArray[Any]: ...
def looked_up(x: _Array, table: _Array) -> _NDArray[Any]: ...
def rounded_sums(
    sums: _NDArray[np.int32], scale: _NDArray[np.float32], zero: int, with_sign: bool
) -> _NDArray[Any]: ...
def small_dense(x: _Array, kernel: _Array, bias: _Array | None = None) -> _Array | None: ...
def all_finite(array: _Array) -> bool: ...

@final
class DenseStepper(Link):
    def __init__(self, packed: PackedDense, activation: str, batch: int, turn: Turn | None = None) -> None: ...
    def step(self, x: _Array, out: _Array | None = None) -> _Array: ...

@final
class Chain:
    cast: Callable[[Any], _Array] | None
    def __init__(self, links: list[Link], ids: int = 0, mask_zero: bool = False) -> None: ...
    def step(self, x: Any, out: _Array | None = None) -> Any: ...

def forward(
    packed: Packed,
    x: _Array,
    plan: Plan | None = None,
    backwards: bool = False,
    h0: _Array | None = None,
    c0: _Array | None = None,
    masks: DropoutMasks | None = None,
    out: _Array | None = None,
    sequences: bool = True,
    states: bool = True,
    keep: bool = False,
    zero_masked: bool = False,
    threads: int = 1,
    recompute: bool = False,
    table: _Array | None = None,
) -> tuple[_Array | None, _Array | None, _Array | None, Call | None]: ...
def project_table(packed: Packed, rows: _Array) -> _Array: ...
def busy() -> int: ...
def lend_threads(region: int) -> None: ...
def backward(
    call: Call,
    doutputs: _Array | None,
    dh_final: _Array | None,
    dc_final: _Array | None,
    need_dx: bool,
    need_dparams: bool,
    threads: int = 1,
) -> tuple[_Array | None, _Array, _Array | None, _Array | None, _Array | None, _Array | None]: ...

@final
class Generators:
    def __init__(self, seed: int, counters: Sequence[int]) -> None: ...
    def uniform(self, shape: Sequence[int]) -> _NDArray[np.float32]: ...
    def masks(self, shape: Sequence[int], rate: float, dtype: Any) -> _Array: ...

def adam(
    value: _Array,
    grad: _Array,
    mean: _Array,
    square: _Array,
    one: float,
    two: float,
    rate: float,
    epsilon: float,
) -> bool: ...
def has_own_places(out: _Array) -> bool: ...
def release_buffers() -> None: ...
def same_bytes(one: _Array, other: _Array) -> bool: ...
def fingerprint(arrays: Sequence[_Array]) -> int: ...
def may_share(out: _Array, array: _Array | None) -> bool: ...
def empty(shape: tuple[int, ...], dtype: Any) -> _Array: ...
def product(a: _Array, b: _Array) -> _Array: ...
def activate(name: str, x: _Array) -> _Array: ...
