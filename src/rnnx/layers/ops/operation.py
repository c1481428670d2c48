"""What an operation is: a function of arrays that becomes a layer of the graph where a symbolic tensor is given.

One record says all of an operation: its forward function, the gradient of each operand, the shape and the element type
of the result, and whether it works step by step. `operation` makes the public function of it, `Operation` is the layer.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np

from rnnx._typing import Array
from rnnx.functional._broadcasting import fold
from rnnx.layers.graph import SymbolicTensor, tracing
from rnnx.layers.layer import Gradients, Layer, Pullback
from rnnx.layers.names import unique_name
from rnnx.layers.ops import dtypes
from rnnx.layers.ops.arguments import Sketch, Slot, decoded, encoded, leaves, replaced, taken_out
from rnnx.layers.ops.origins import check_ranks
from rnnx.layers.weight import Weight, operand

F = TypeVar("F", bound=Callable[..., Any])
RECORDS: dict[str, Record] = {}


def never(**arguments: Any) -> str:
    """The way in a stream of what does not say another one."""
    return "it needs other steps too"


@dataclass(eq=False)
class Record:
    """One operation.

    Attributes
    ----------
    name : str
    function : callable
        Of arrays; the operands come first.
    operands : tuple of str
        Its parameters that are arrays of numbers, with a star if one is a list of such.
    alike : tuple of str
        Those of them that are cast to one type before, see `rnnx.layers.ops.dtypes.common`.
    floats : bool
        Whether that must be a type of floats.
    shape : callable
        The shape of the result, or a list of them, from operands and options, of which only shapes are looked at.
    result : callable or dtype or None
        The type of the result from the one of the operands; None is that one.
    steps : callable
        What the operation does to the steps of a sequence (axis 1), from operands and options: "each" if it treats
        them alike and apart, "last" if it takes the last one, else why it cannot be used in a stream.
    gradient : callable or None
        ``gradient(k, dy, y, *operands, **options)``: that of operand k, in the shape that broadcasting gives; of those
        in a list k counts on.
    meet : bool
        Whether the operands are broadcast against each other.
    layer : callable or None
        The symbolic tensor of another layer that does the same, or None, from the arguments.
    """

    name: str
    function: Callable[..., Any]
    operands: tuple[str, ...]
    alike: tuple[str, ...]
    floats: bool
    shape: Callable[..., Any]
    result: Any
    steps: Callable[..., str]
    meet: bool = False
    layer: Callable[..., Any] | None = None
    gradient: Callable[..., Any] | None = None

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        return inspect.signature(self.function)

    @property
    def names(self) -> tuple[str, ...]:
        """The operands without stars."""
        return tuple([name.lstrip("*") for name in self.operands])

    def bind(self, args: Any, kwargs: Any) -> dict[str, Any]:
        """All arguments by their names.

        Raises
        ------
        TypeError
            If one is missing or unknown.
        """
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            given = [part.replace(annotation=part.empty) for part in self.signature.parameters.values()]
            raise TypeError(f"ops.{self.name}: {error}; it takes {inspect.Signature(given)}") from None
        bound.apply_defaults()
        return dict(bound.arguments)

    # ---- On arrays ---------------------------------------------------------------------------------------------------

    def called(self, arguments: dict[str, Any]) -> Any:
        """The result for arrays and numbers."""
        return self.run(self.cast({**arguments, **self._arrays(arguments)}, self._strong(arguments)))

    def _arrays(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {name: self._each(name, arguments[name], as_operand) for name in self.names}

    def _strong(self, arguments: dict[str, Any]) -> list[Any]:
        given = [self._listed(name, arguments[name]) for name in self.alike]
        return [as_operand(value) for part in given for value in part if not isinstance(value, (bool, int, float))]

    def _each(self, name: str, value: Any, change: Callable[[Any], Any]) -> Any:
        """A change of an operand, or of every one in a list of operands."""
        return [change(one) for one in value] if f"*{name}" in self.operands else change(value)

    def _listed(self, name: str, value: Any) -> list[Any]:
        return list(value) if f"*{name}" in self.operands else [value]

    def cast(self, arguments: dict[str, Any], strong: list[Any]) -> dict[str, Any]:
        """The arguments with operands as arrays of the type in which they meet."""
        weak = [value for name in self.alike for value in self._listed(name, arguments[name]) if value is not None]
        dtype = dtypes.common([value for value in strong if value is not None], weak)
        dtype = dtypes.floating(dtype) if self.floats else dtype

        def to_dtype(value: Any) -> Any:
            if isinstance(value, Sketch):
                return Sketch(value.shape, dtype)
            return None if value is None else np.asarray(value).astype(dtype, copy=False)

        def to_array(value: Any) -> Any:
            return value if value is None or isinstance(value, Sketch) else np.asarray(value)

        found = dict(arguments)
        for name in self.names:
            found[name] = self._each(name, found[name], to_dtype if name in self.alike else to_array)
        return found

    def run(self, arguments: dict[str, Any]) -> Any:
        """The result for operands that are cast."""
        self.infer(arguments)  # says what does not fit
        y = self.function(**arguments)
        types = self.types(arguments)
        if isinstance(types, list):
            return [np.asarray(one).astype(dtype, copy=False) for one, dtype in zip(y, types, strict=True)]
        if isinstance(y, (list, tuple)):
            return [np.asarray(one).astype(types, copy=False) for one in y]
        return np.asarray(y).astype(types, copy=False)

    def operand_list(self, arguments: dict[str, Any]) -> list[Any]:
        """All operands, those in lists one after the other."""
        return [value for name in self.names for value in self._listed(name, arguments[name])]

    def pulled_back(self, k: int, dy: Any, y: Any, arguments: dict[str, Any]) -> Array | None:
        """The gradient of operand k in its own shape; None if there is none."""
        operand = self.operand_list(arguments)[k]
        if self.gradient is None or operand.dtype.kind != "f":
            return None
        d = self.gradient(k, dy, y, **arguments)
        return None if d is None else fold(np.asarray(d), operand.shape).astype(operand.dtype, copy=False)

    # ---- Without values ----------------------------------------------------------------------------------------------

    def infer(self, arguments: dict[str, Any]) -> Any:
        """The shape of the result, or a list of shapes.

        Raises
        ------
        TypeError, ValueError
            If the arguments do not fit together.
        """
        try:
            return self.shape(**arguments)
        except (TypeError, ValueError) as error:
            raise type(error)(f"ops.{self.name}: {error}") from None

    def types(self, arguments: dict[str, Any]) -> Any:
        """The element type of the result, or a list of them."""
        if self.result is None or not isinstance(self.result, np.dtype):
            known = [value.dtype for value in self.operand_list(arguments) if value is not None]
            own = [v.dtype for name in self.alike for v in self._listed(name, arguments[name]) if v is not None]
            dtype = (own or known or [dtypes.FLOAT])[0]
            return dtype if self.result is None else self.result(dtype, arguments)
        return self.result

    def symbolic(self, arguments: dict[str, Any]) -> Any:
        """The symbolic result(s): a new layer, called."""
        for name in self.names:
            value = arguments[name]
            if f"*{name}" not in self.operands and isinstance(value, (list, tuple)) and len(taken_out(value)[1]):
                arguments[name] = RECORDS["stack"].symbolic({"x": list(value), "axis": 0})
            elif f"*{name}" in self.operands:
                arguments[name] = list(value)
        if self.layer is not None and (made := self.layer(arguments)) is not None:
            return made
        if self.meet:
            check_ranks(f"ops.{self.name}", [arguments[name] for name in self.names])
        template, tensors = taken_out(arguments)
        for name in self.names:
            template[name] = self._each(name, template[name], _constant)
        inputs = [Sketch(tensor.shape, np.dtype(tensor.dtype)) for tensor in tensors]
        sketches = self.filled(template, inputs)
        types = self.types(sketches)
        floats = [dtype for dtype in (types if isinstance(types, list) else [types]) if dtype.kind == "f"]
        floats = floats or [sketch.dtype for sketch in inputs if sketch.dtype.kind == "f"]
        dtype = np.result_type(*floats, dtypes.FLOAT) if floats else dtypes.FLOAT
        layer = Operation(self.name, template, name=unique_name(self.name), dtype=dtype)
        return layer(tensors[0] if len(tensors) == 1 else tensors)

    def filled(self, template: dict[str, Any], inputs: list[Any]) -> dict[str, Any]:
        """The arguments with the inputs, arrays or sketches, in their places, cast."""
        strong = [
            inputs[leaf.index]
            for name in self.alike
            for leaf in self._listed(name, template[name])
            if isinstance(leaf, Slot)
        ]
        full = {name: replaced(part, lambda leaf: inputs[leaf.index] if isinstance(leaf, Slot) else leaf)
                for name, part in template.items()}  # fmt: skip
        return self.cast(full, strong)


def as_operand(value: Any) -> Any:
    """An array as a plain one; a number stays; a list of numbers is what Keras makes of it: float32 or int32.

    Raises
    ------
    TypeError
        If it is no array of numbers.
    """
    if value is None or isinstance(value, (bool, int, float)):
        return value
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"an operand must be an array of real numbers, got {type(value).__name__} of {array.dtype}")
    if isinstance(value, (list, tuple)) and not any(
        isinstance(leaf, (np.ndarray, np.generic)) for leaf in leaves(value)
    ):
        return array.astype({"f": dtypes.FLOAT, "i": dtypes.INDEX}.get(array.dtype.kind, array.dtype))
    return array


def _constant(value: Any) -> Any:
    """An operand of a template that is no input."""
    return value if isinstance(value, Slot) else as_operand(value)


class Operation(Layer):
    """An operation of ``rnnx.ops`` as a layer; what such a function makes of symbolic tensors.

    As in Keras, the output has no time mask.

    Parameters
    ----------
    function : str
        Its name in ``rnnx.ops``.
    arguments : dict, optional
        Of the function, without the operands; these are the inputs then, in order.

    Raises
    ------
    TypeError, ValueError
        If there is no such operation, or its arguments do not fit.

    Examples
    --------
    >>> import rnnx
    >>> x = rnnx.Input((None, 3))
    >>> rnnx.ops.softmax(x, axis=1).shape
    (None, None, 3)
    >>> rnnx.layers.Operation("mean", {"axis": 1})(x).shape
    (None, 3)
    """

    supports_masking = False
    makes_other_types = True

    def __init__(self, function: str, arguments: dict[str, Any] | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        if not isinstance(function, str) or function not in RECORDS:
            raise ValueError(f"Operation: there is no `function` {function!r} among the operations of rnnx.ops")
        self.function = function
        given = {} if arguments is None else arguments
        if not isinstance(given, dict):
            raise TypeError(f"Operation: `arguments` must be a dict of those of ops.{function}, got {given!r}")
        self.arguments = {str(name): decoded(part) for name, part in given.items()}
        self.record.bind((), {**dict.fromkeys(self.record.names), **self.arguments})
        self.built = True

    @property
    def record(self) -> Record:
        return RECORDS[self.function]

    def template(self, inputs: int) -> dict[str, Any]:
        """All arguments, the inputs in the places of operands that are not given."""
        record, given = self.record, dict(self.arguments)
        missing = [name for name in record.operands if name.lstrip("*") not in given]
        free = iter(range(inputs))
        for name in missing:
            given[name.lstrip("*")] = [Slot(k) for k in free] if name[0] == "*" else Slot(next(free, inputs))
        wanted = {leaf.index for leaf in leaves(given) if isinstance(leaf, Slot)}
        if wanted != set(range(inputs)):
            raise ValueError(f"{self.name}: ops.{self.function} takes {len(wanted)} input(s) here, got {inputs}")
        return record.bind((), given)

    def takes_list(self, x: Any) -> bool:
        return all(isinstance(part, (np.ndarray, np.generic)) for part in x)

    def cast(self, x: Any) -> Array:
        """An array; floats become those of the layer, integers and truth values stay."""
        array = np.asarray(x)
        return array if array.dtype.kind in "iub" else super().cast(array)

    def forward(
        self, x: Any, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Any, Pullback | None]:
        inputs = x if isinstance(x, list) else [x]
        template, record = self.template(len(inputs)), self.record
        arguments = record.filled(template, inputs)
        y = record.run(arguments)
        single = isinstance(y, list) and len(y) == 1  # what a layer returns is a list if it has several

        def pullback(dy: Any, *, need_dx: bool = True) -> Gradients:
            if not need_dx or record.gradient is None:
                return Gradients()
            slopes = _slopes([dy] if single else dy, y)
            found: list[Array | None] = [None] * len(inputs)
            for k, leaf in enumerate(record.operand_list(template)):
                if isinstance(leaf, Slot) and inputs[leaf.index].dtype.kind == "f":
                    d = record.pulled_back(k, slopes, y, arguments)
                    if d is not None:
                        d, known = d.astype(inputs[leaf.index].dtype, copy=False), found[leaf.index]
                        found[leaf.index] = d if known is None else known + d
            return Gradients(found if isinstance(x, list) else found[0])

        return y[0] if single else y, pullback if keep else None

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self._inferred(input_shape)[0]

    def compute_output_dtype(self, input_shape: Any, input_dtype: Any) -> Any:
        arguments = self._inferred(input_shape, input_dtype)[1]
        return self.record.types(arguments)

    def _inferred(self, input_shape: Any, input_dtype: Any = None) -> tuple[Any, dict[str, Any]]:
        several = bool(input_shape) and isinstance(input_shape[0], (list, tuple))
        shapes = input_shape if several else [input_shape]
        given = [self.dtype] * len(shapes) if input_dtype is None else map(np.dtype, input_dtype)
        types = [self.dtype if dtype.kind == "f" else dtype for dtype in given]
        inputs = [Sketch(tuple(shape), dtype) for shape, dtype in zip(shapes, types, strict=True)]
        arguments = self.record.filled(self.template(len(inputs)), inputs)
        return self.record.infer(arguments), arguments

    def compute_mask(self, x: Any, mask: Any = None) -> None:
        return None

    def steps(self, shapes: list[Any], constant: list[bool]) -> str:
        """What the operation does to the steps (axis 1) of inputs of these shapes; see `Record.steps`.

        Parameters
        ----------
        shapes : list of tuple
        constant : list of bool
            Which inputs are the same for all steps, such as weights.
        """
        inputs: list[Any] = [Sketch(tuple(shape), self.dtype) for shape in shapes]
        for k, fixed in enumerate(constant):
            if fixed and None not in inputs[k].shape:
                inputs[k] = np.broadcast_to(np.zeros((), self.dtype), inputs[k].shape)
        return self.record.steps(**self.record.filled(self.template(len(inputs)), inputs))

    def get_config(self) -> dict[str, Any]:
        arguments = {name: encoded(self.name, part) for name, part in self.arguments.items()}
        return {**super().get_config(), "function": self.function, "arguments": arguments}


def _slopes(dy: Any, y: Any) -> Any:
    """The gradient of the result in its type; 0 where none came."""
    if isinstance(y, list):
        return [
            np.zeros_like(one) if d is None else d.astype(one.dtype, copy=False) for d, one in zip(dy, y, strict=True)
        ]
    return np.asarray(dy).astype(y.dtype, copy=False)


def operation(
    *operands: str,
    shape: Callable[..., Any],
    alike: tuple[str, ...] | None = None,
    floats: bool = False,
    result: Any = None,
    steps: Callable[..., str] = never,
    meet: bool = False,
    layer: Callable[..., Any] | None = None,
) -> Callable[[F], F]:
    """Make an operation of a function of arrays; see `Record` for the words."""

    def decorate(function: F) -> F:
        name = function.__name__.strip("_")
        together = tuple([operand.lstrip("*") for operand in operands]) if alike is None else alike
        record = Record(name, function, operands, together, floats, shape, result, steps, meet, layer)
        RECORDS[name] = record

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            arguments = record.bind(args, kwargs)
            if (following := tracing.get()) is not None or any(isinstance(leaf, Weight) for leaf in leaves(arguments)):
                arguments = replaced(arguments, following.operand if following is not None else operand)
            if any(isinstance(leaf, SymbolicTensor) for leaf in leaves(arguments)):
                return record.symbolic(arguments)
            return record.called(arguments)

        vars(call)["record"] = record
        return cast("F", call)

    return decorate


def gradient_of(*functions: Any) -> Callable[[F], F]:
    """Take a function as the gradient of an operation; see `Record.gradient`."""

    def decorate(gradient: F) -> F:
        for function in functions:
            function.record.gradient = gradient
        return gradient

    return decorate
