"""Operations on arrays and symbolic tensors, by subject; ``rnnx.ops`` hands them on."""

from rnnx.layers.ops.operation import Operation
from rnnx.layers.ops.steps import EACH, LAST
from rnnx.layers.ops.symbols import METHODS

__all__ = ["EACH", "LAST", "METHODS", "Operation"]
