"""What every layer is: weights, a forward function with its pullback, and a configuration."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rnnx import constraints, initializers, regularizers
from rnnx._changes import Changes
from rnnx._config import did_you_mean, on_demand
from rnnx._nested import leaves
from rnnx._typing import Array
from rnnx.layers import carried as carried_masks
from rnnx.layers import graph
from rnnx.layers.checks import as_masks, check_dtype, dtype_of, given_shape, kind_of
from rnnx.layers.limits import room
from rnnx.layers.names import unique_name
from rnnx.layers.registry import CONSTRUCTING, register
from rnnx.layers.weight import Weight, assignable, changing

Pullback = Callable[..., "Gradients"]
QUANTIZATION_MODES = ("bf16", "int8", "int8x16", "int16")
MODES_OF_0_1_0 = {"int8": "int8x16"}  # what modes in its files and pickles are called now
LEGACY_IGNORED = {"weights", "input_length"}


@dataclass(eq=False)
class Gradients:
    """What a pullback returns.

    Attributes
    ----------
    dx : array, list of arrays or None
        Gradient of the input(s); None where there is none (integer ids) or none was asked for.
    dweights : list of arrays or None
        In ``get_weights`` order; None for weights that are not trained.
    dinitial_state : array, tuple of arrays or None
        For recurrent layers.
    """

    dx: Any = None
    dweights: list[Array | None] = field(default_factory=list)
    dinitial_state: Any = None


NOT_KEPT = ("_build_lock", "_memo", "_node", "_graphs", "_key", "_base")  # of a copy or a pickle


def _built_once(build: Callable[..., None], owner: Any = None) -> Callable[..., None]:
    """Build once, whoever asks first and from however many threads; a failed build leaves no weights behind.

    ``owner`` is the class whose method it is: whose weights are being made.
    """

    @functools.wraps(build)
    def building(self: Layer, *shapes: Any, **by_name: Any) -> None:
        with self._build_lock:
            if vars(self)["built"]:
                return
            if self._building:  # a subclass calls the build of its base
                outer, self._building = self._building, owner or Layer
                try:
                    build(self, *shapes, **by_name)
                finally:
                    self._building = outer
                return
            before, self._building = list(self._weights), owner or Layer
            token = graph.tracing.set(None)  # whose `call` is followed meets a finished layer
            try:
                build(self, *shapes, **by_name)
                if self._initial_weights is not None:
                    self.set_weights(self._initial_weights)
            except BaseException:
                self._weights = before
                raise
            finally:
                self._building = False
                graph.tracing.reset(token)
            self.built = True

    return building


def _masked(x: Any, call: dict[str, Any]) -> bool:
    """Whether a call has masks, as arguments or on its inputs."""
    return call.get("mask") is not None or call.get("lengths") is not None or carried_masks.carries(x)


class Layer:
    """A function with weights.

    Subclasses implement ``build``, ``forward``, ``compute_output_shape`` and ``get_config``; everything a user calls
    (``layer(x)``, ``layer.vjp(x)``, weights, configuration) is here.

    Parameters
    ----------
    name : str, optional
        Made from the class name if not given.
    trainable : bool
        Without it the weights keep their values in training. Dropout stays active.
    dtype : {"float32", "float64"}
    input_shape : tuple, optional
        Shape of one sample; lets a Sequential model be built before it sees data. ``batch_input_shape`` and
        ``batch_shape`` include the batch axis, ``input_dim`` (with ``input_length``) is the old way to say it.

    Raises
    ------
    TypeError
        If an argument is unknown.
    ValueError
        If the dtype is not supported.
    """

    supports_masking = True
    makes_mask = False  # whether outputs may have a mask where no input has one
    makes_other_types = False  # whether outputs may be of another type than the layer; `compute_output_dtype` says it
    call_arguments = frozenset({"mask", "training"})
    given_axes = 1  # of a sample of which `input_dim` alone gives the last
    positional_arguments: tuple[str, ...] = ()  # behind the input, in Keras' order
    outputs_by_call = False  # whether the arguments of a call decide how many outputs there are
    output_template: Any = None  # of a model whose outputs are in a dict, a tuple or lists inside lists
    quantization_mode: str | None = None  # how the kernels are read in inference; see `quantize`
    built_by_call = False  # whether only a call builds it: a model of one's own
    follows_call = False  # whether the class has `call` of its own, which is followed: see `rnnx.layers.call`
    knows_trained = False  # whether its pullback takes ``trained=layer.trained_weights()``
    class_name = "Layer"  # by which files know the class
    _node: graph.Node | None = None  # the first symbolic call

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        register(cls)
        if "build" in vars(cls):
            type.__setattr__(cls, "build", _built_once(vars(cls)["build"], cls))
        if cls.call is not Layer.call:
            on_demand("honour_call")(cls)
        if "__init__" in vars(cls) and cls.__module__.split(".")[0] != "rnnx":
            on_demand("keep_arguments")(cls)

    def __init__(
        self,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = "float32",
        **kwargs: Any,
    ):
        if (space := room()) is not None:
            space.take_layer()
        self.given_input_shape, self.given_batch_size = (
            given_shape(type(self).__name__, kwargs, self.given_axes) if kwargs else (None, None)
        )
        if mode := kwargs.pop("quantization_mode", None):
            if mode not in QUANTIZATION_MODES:
                raise ValueError(f"{type(self).__name__}: unknown quantization_mode {mode!r}")
            self.quantization_mode = mode
        if unknown := kwargs.keys() - LEGACY_IGNORED:
            known = {name for kind in type(self).__mro__[:-1] for name in inspect.signature(kind).parameters}
            raise TypeError(
                f"{type(self).__name__}: unknown argument(s) {', '.join(sorted(unknown))}{did_you_mean(unknown, known)}"
            )
        if name is not None and (not isinstance(name, str) or not name):
            raise ValueError(f"{type(self).__name__}: `name` must be a string that is not empty, got {name!r}")
        self.name = name if name is not None else unique_name(type(self).__name__)
        if not isinstance(trainable, (bool, np.bool_)):
            raise ValueError(f"{type(self).__name__}: `trainable` must be True or False, got {trainable!r}")
        self._trainable = bool(trainable)
        self.dtype = check_dtype(type(self).__name__, dtype)
        self.built = False
        self.activity_regularizer: Any = None
        if self.follows_call and (given := kwargs.pop("activity_regularizer", None)) is not None:
            self.activity_regularizer = regularizers.get(given)
        self._weights: list[Weight] = []
        given = kwargs.get("weights")
        self._initial_weights = [given] if isinstance(given, np.ndarray) else given
        self._build_lock = threading.RLock()
        self._building: Any = False  # the class whose `build` is running

    # ---- What subclasses implement -------------------------------------------------------------------------------

    @_built_once
    def build(self, input_shape: Any) -> None:
        """Make the weights for inputs of this shape (batch first, unknown sizes None)."""

    def forward(
        self, x: Any, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Any, Pullback | None]:
        """Outputs and, with ``keep``, the pullback ``pullback(dy, need_dx=True) -> Gradients``.

        The layer is built and the input checked and cast when this is called.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how to compute its output: implement `forward`")

    def call(self, x: Any, *given: Any, **call: Any) -> Any:
        """What a class of one's own computes, in symbolic tensors: it is called once with them, and the graph is run.

        A class that defines ``call(self, inputs, ...)`` needs no other method. Arguments are tensors in lists, tuples
        and dicts, constants, ``training`` (True or False) and ``mask`` (None if there is none). Weights of
        `add_weight`, layers that are attributes, operators, `rnnx.ops` and functions of NumPy may be used.

        The ``call`` of a class that is there already, as in ``super().call(x)``, is what that class computes.
        """
        base = base_of(type(self))
        if base is Layer:
            raise NotImplementedError(f"{type(self).__name__} does not say how to compute its output: implement `call`")
        view = self._seen_as(base)
        if view is not self and base.build is not Layer.build and not self._weights and "plan" not in vars(self):
            with self._build_lock:  # a `build` of one's own that has left this out
                self.built = False
                view.build(x.shape)
        return view(x, *given, **call)

    def _seen_as(self, base: Any) -> Any:
        """This layer, all it has included, as one of the class that its own class is derived from."""
        if type(self) is base:
            return self
        view = vars(self).get("_base")
        if type(view) is not base:
            view = object.__new__(base)
            view.__dict__ = self.__dict__
            vars(self)["_base"] = view
        return view

    def forward_masked(self, x: Any, *, mask: Any = None, keep: bool = False, **call: Any) -> tuple[Any, Any, Any]:
        """Outputs, their time mask and the pullback: `forward` and `compute_mask` together, as a model needs them."""
        y, pullback = self.forward(x, mask=mask, keep=keep, **call)
        return y, self.compute_mask(x, mask), pullback

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shape of the output for an input of this shape."""
        return input_shape

    def compute_output_dtype(self, input_shape: Any, input_dtype: list[Any]) -> Any:
        """Element type of the output, or a list of those of several, for the types of all inputs; the layer's own."""
        return self.dtype

    def call_output_shapes(self, input_shape: Any, call: dict[str, Any]) -> Any:
        """Shape of the output, or a list of those of several, of a call with these arguments."""
        if self.output_template is None:
            return self.compute_output_shape(input_shape)
        return self.flat_output_shapes(input_shape)  # type: ignore[attr-defined]  # of models, which alone have one

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """The time mask of the output; by default that of the input."""
        return mask if self.supports_masking else None

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the layer again."""
        config = {"name": self.name, "trainable": self.trainable, "dtype": self.dtype.name}
        if self.follows_call and self.activity_regularizer is not None:
            config["activity_regularizer"] = regularizers.serialize(self.activity_regularizer)
        if self.quantization_mode:
            config["quantization_mode"] = self.quantization_mode
        return config

    # ---- Calling ---------------------------------------------------------------------------------------------------

    def __call__(self, x: Any, *given: Any, **call: Any) -> Any:
        """Arrays in, arrays out; symbolic tensors in, symbolic tensors out.

        Arguments without a name are those of `positional_arguments`, in this order.

        What a layer returns that makes a time mask, or gets one in the call or with its input, carries the mask on to
        the next layer (unless the layer ends it, as in a model): see `rnnx.layers.carried`.
        """
        if given:
            self._take_positional(given, call)
        return self._call(x, call)

    def _take_positional(self, given: tuple[Any, ...], call: dict[str, Any]) -> None:
        """Give the arguments without a name their names."""
        names = self.positional_arguments
        if len(given) > len(names):
            known = f"behind the input only {', '.join(names)}" if names else "nothing behind the input"
            raise TypeError(f"{self.name}: {known} can be given without a name, got {len(given)} argument(s)")
        for name, value in zip(names, given, strict=False):
            if name in call:
                raise TypeError(f"{self.name}: `{name}` is given twice")
            if value is not None:
                call[name] = value

    def _call(self, x: Any, call: dict[str, Any]) -> Any:
        if call and not call.keys() <= self.call_arguments:
            self._refuse_arguments(call)
        if type(x) is not np.ndarray or call:
            if graph.is_symbolic(x) or graph.is_symbolic(call.get("initial_state")):
                return graph.call(self, x, call)
            if _masked(x, call):
                return self._call_masked(x, call, False)[0]
        x = self.prepare(x)
        if not (call.get("training") or self.leaves_traces()):
            return self.forward(x, **call)[0]
        with Changes():
            return self.forward(x, **call)[0]

    def vjp(self, x: Any, **call: Any) -> tuple[Any, Pullback]:
        """The same call, differentiable.

        Returns
        -------
        y : array or list of arrays
        pullback : callable
            ``pullback(dy, need_dx=True)`` gives the `Gradients` for the gradient of ``y``.
        """
        if not call.keys() <= self.call_arguments:
            self._refuse_arguments(call)
        if self.makes_mask or _masked(x, call):
            y, pullback = self._call_masked(x, call, True)
        else:
            x = self.prepare(x)
            with Changes():
                y, pullback = self.forward(x, keep=True, **call)
        assert pullback is not None
        return y, pullback

    def _call_making_mask(self, x: Any, call: dict[str, Any]) -> Any:
        """`_call` of a layer whose output may have a mask without one at the input."""
        if not call.keys() <= self.call_arguments:
            self._refuse_arguments(call)
        if graph.is_symbolic(x):
            return graph.call(self, x, call)
        return self._call_masked(x, call, False)[0]

    def _call_masked(self, x: Any, call: dict[str, Any], keep: bool) -> tuple[Any, Pullback | None]:
        """A call with masks: those of the arguments, or those that the inputs carry; the outputs carry theirs."""
        x, carried = carried_masks.taken_apart(x)
        x = self.prepare(x)
        if call.get("mask") is not None:
            call = {**call, "mask": self.given_mask(x, call["mask"])}
        elif carried is not None and call.get("lengths") is None:
            call = {**call, "mask": carried}
        with Changes():
            y, mask, pullback = self.forward_masked(x, keep=keep, **call)
        if call.get("return_masks"):
            y, drawn = y
            return (carried_masks.all_carrying(y, mask), drawn), pullback
        return carried_masks.all_carrying(y, mask), pullback

    def given_mask(self, x: Any, mask: Any) -> Any:
        """The mask that a call was given for this input, as booleans."""
        return as_masks(self.name, mask, isinstance(x, (list, tuple)))

    def leaves_traces(self) -> bool:
        """Whether a call may change something in this layer also outside training: a carried state, drawn noise."""
        return any(layer.leaves_traces() for layer in self.sublayers) or getattr(self, "stateful", False)

    def _refuse_arguments(self, call: dict[str, Any]) -> None:
        unknown = sorted(call.keys() - self.call_arguments)
        raise TypeError(
            f"{self.name}: unknown call argument(s) {', '.join(unknown)}; "
            f"known: {', '.join(sorted(self.call_arguments))}"
        )

    def prepare(self, x: Any) -> Any:
        """Check and cast an input (or list of inputs), and build the layer for it."""
        if isinstance(x, (list, tuple)) and self.takes_list(x):
            x = [self.cast(part) for part in x]
            if not self.built:
                self.build([part.shape for part in x])
            return x
        x = self.cast(x)
        if not self.built:
            self.build((None, *x.shape[1:]))
        return x

    def takes_list(self, x: Any) -> bool:
        """Whether a list is a list of inputs (and not the rows of one)."""
        return any(isinstance(part, np.ndarray) for part in x)

    def cast(self, x: Any) -> Array:
        """An array of the layer's dtype; complex numbers, objects and strings are refused."""
        try:
            array = x if isinstance(x, np.ndarray) else np.asarray(x)
        except ValueError as error:
            raise ValueError(f"{self.name}: the input is not one array: its rows differ in length") from error
        if array.dtype == self.dtype:
            return array
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{self.name}: the input must be real numbers, got {kind_of(array)}")
        return array.astype(self.dtype)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what can be made again."""
        state = {name: value for name, value in vars(self).items() if name not in NOT_KEPT}
        if "quantization_mode" in state:  # under a name that 0.1.0 did not have: its "int8" was another
            state["quantized_as"] = state.pop("quantization_mode")
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = {**state, "_build_lock": threading.RLock()}
        if "quantized_as" in state:
            state["quantization_mode"] = state.pop("quantized_as")
        elif mode := state.get("quantization_mode"):
            state["quantization_mode"] = MODES_OF_0_1_0.get(mode, mode)
        vars(self).update(state)
        self.dtype = np.dtype(self.dtype.name)  # pickles make another object of it; calls ask for this one

    # ---- Symbolic calls --------------------------------------------------------------------------------------------

    @property
    def input(self) -> Any:
        """Symbolic input(s) of the first symbolic call, to make a `Model` of a part of a graph."""
        node = self._called()
        inputs = node.values or node.outputs
        return inputs[0] if node.single else inputs

    @property
    def output(self) -> Any:
        """Symbolic output(s) of the first symbolic call."""
        outputs = self._called().outputs
        return outputs[0] if len(outputs) == 1 else list(outputs)

    def get_input_at(self, node_index: int) -> Any:
        """`input`, by the name that it had in Keras 2; only the first call is kept.

        Raises
        ------
        ValueError
            If another call is asked for.
        """
        return self._at(node_index, "input")

    def get_output_at(self, node_index: int) -> Any:
        """`output`, likewise."""
        return self._at(node_index, "output")

    def get_input_shape_at(self, node_index: int) -> Any:
        """The shape of `input`, or a list of several."""
        found = self._at(node_index, "input")
        return [tensor.shape for tensor in found] if isinstance(found, list) else found.shape

    def get_output_shape_at(self, node_index: int) -> Any:
        """The shape of `output`, or a list of several."""
        found = self._at(node_index, "output")
        return [tensor.shape for tensor in found] if isinstance(found, list) else found.shape

    def _at(self, node_index: int, end: str) -> Any:
        if node_index != 0:
            raise ValueError(f"{self.name}: only the {end} of the first call is kept, number 0, not {node_index!r}")
        return getattr(self, end)

    def _called(self) -> graph.Node:
        if self._node is None:
            raise AttributeError(f"{self.name}: no symbolic input and output yet; call it on a symbolic tensor first")
        return self._node

    # ---- Weights ---------------------------------------------------------------------------------------------------

    @property
    def trainable(self) -> bool:
        """Whether training changes the weights; to set it sets it for every layer inside."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        for layer in self.sublayers:
            layer.trainable = value

    def add_weight(
        self,
        *given: Any,
        trainable: bool = True,
        regularizer: Any = None,
        constraint: Any = None,
        chosen: str | None = None,
        **named: Any,
    ) -> Weight:
        """Make a weight; to be called by ``build`` or ``__init__``.

        Parameters
        ----------
        shape : tuple of int
            A number without it.
        initializer, regularizer, constraint : name, configuration, callable or None
            Without an initializer ``"glorot_uniform"``, or zeros of integers.
        dtype : dtype, optional
            That of the layer if it is not given.
        trainable : bool
        name : str, optional
            May also be the first of the arguments without names, in front of the shape.
        chosen : str, optional
            Those that are not given are the layer's own: ``chosen="kernel"`` stands for ``self.kernel_initializer``,
            ``self.kernel_regularizer`` and ``self.kernel_constraint``.

        Raises
        ------
        TypeError
            If there is no initializer.
        """
        if chosen is not None or (len(given) == 3 and isinstance(given[0], str) and not named):
            name, shape, initializer = (*given, None)[:3]
            dtype = self.dtype
        else:
            name, shape, initializer, dtype = self._weight_arguments(given, named)
        if (
            self.follows_call
            and (tracing := graph.tracing.get()) is not None
            and tracing.owner is self
            and not self._building
        ):
            raise RuntimeError(f"{self.name}: a weight is made in `call`, which runs often; make it in `build`")
        if chosen is not None:
            initializer = getattr(self, f"{chosen}_initializer") if initializer is None else initializer
            regularizer = getattr(self, f"{chosen}_regularizer") if regularizer is None else regularizer
            constraint = getattr(self, f"{chosen}_constraint") if constraint is None else constraint
        if initializer is None:
            raise TypeError(f"{self.name}: weight {name!r} needs an `initializer` (a name or a callable), got None")
        space = room()
        if space is not None and space.numbers is not None:
            space.take_weight(self.name, name, shape)
            value = np.broadcast_to(np.zeros((), dtype), shape)
        else:
            made = initializers.get(initializer)(shape, dtype=dtype if dtype.kind == "f" else self.dtype)
            value = np.asarray(made, dtype)
        weight = Weight(
            name,
            value,
            trainable,
            None if regularizer is None else regularizers.get(regularizer),
            None if constraint is None else constraints.get(constraint),
        )
        building = self._building or Layer
        known = not self.follows_call or base_of(type(self)) is Layer
        if known or not (building is Layer or building.follows_call):
            self._weights.append(weight)
        else:  # beside those that the class it is derived from knows by their places
            vars(self).setdefault("_added", []).append((len(self._weights), weight))
        return weight

    def _weight_arguments(self, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[str, Any, Any, np.dtype[Any]]:
        """Name, shape, initializer and dtype of a weight, in Keras' order or the older one."""
        name_first = bool(given) and isinstance(given[0], str)
        order = ("name", "shape", "initializer") if name_first else ("shape", "initializer", "dtype")
        if len(given) > len(order):
            raise TypeError(f"{self.name}: add_weight takes at most {len(order)} arguments without a name")
        for word, value in zip(order, given, strict=False):
            if word in named:
                raise TypeError(f"{self.name}: add_weight got `{word}` twice")
            named[word] = value
        for word in ("autocast", "aggregation", "synchronization", "use_resource", "getter", "experimental_autocast"):
            named.pop(word, None)  # how Keras stores it
        if unknown := named.keys() - {"name", "shape", "initializer", "dtype"}:
            raise TypeError(f"{self.name}: add_weight has no argument(s) {', '.join(sorted(unknown))}")
        shape, initializer, dtype = named.get("shape"), named.get("initializer"), named.get("dtype")
        kind = self.dtype if dtype is None else dtype_of(dtype)
        if kind is None or kind.kind not in "fiub":
            raise ValueError(f"{self.name}: add_weight: unknown `dtype` {dtype!r}")
        if initializer is None and len(given) < 2:
            initializer = "glorot_uniform" if kind.kind == "f" else "zeros"
        name = named.get("name") or f"weight_{len(self.own_weights)}"
        sizes = () if shape is None else (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
        for size in sizes:
            if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 0:
                raise ValueError(f"{self.name}: weight {name!r} needs a `shape` of whole numbers, got {tuple(sizes)}")
        return name, sizes, initializer, kind

    def add_loss(self, loss: Any) -> None:
        """Add a symbolic tensor to the loss of the model; to be called by ``call``. Its numbers are summed."""
        tracing = graph.tracing.get()
        for part in leaves(loss):
            if tracing is None or not isinstance(part, graph.SymbolicTensor):
                raise TypeError(
                    f"{self.name}: add_loss takes symbolic tensors, in `call`; got {type(part).__name__}. For a "
                    "penalty on weights give them a `regularizer`"
                )
            tracing.losses.append(part)

    @property
    def sublayers(self) -> list[Layer]:
        """Layers whose weights are also this layer's, in order."""
        return []

    @property
    def calls_inside(self) -> int:
        """How many calls of layers inside a call of this one leads to."""
        calls = 0
        for layer in self.sublayers:
            calls += 1 + layer.calls_inside
        return calls

    @property
    def own_weights(self) -> list[Weight]:
        """Weights of this layer that are not those of a layer inside."""
        return self._weights

    @property
    def weights(self) -> list[Weight]:
        """All weights, in ``get_weights`` order: trainable ones first within each layer, as Keras has them."""
        own = list(self._weights)
        for layer in self.sublayers:
            own += layer.weights
        return own

    @property
    def quantized_weights(self) -> list[Weight] | None:
        """Kernels of this layer that `quantize` makes narrow; None for a layer that it leaves alone."""
        return None

    def quantize(self, mode: str, calibration_data: Any = None, tolerance: float | None = None) -> None:
        """Read the kernels of all recurrent and Dense layers in 16 or 8 bits from now on, for inference.

        The weights are rounded to what their narrow forms stand for; biases and states stay float32. What integers
        multiply is rounded as well, with a scale for each row: to 8 bits (255 steps between its smallest and its
        largest element, or zero) or to 16 bits (1 / 32767 of its largest element); sums of such products are exact. A
        row with an element that is not finite gives NaN. A quantized layer cannot be trained any more. See
        ``rnnx.layers.quantization_report`` for how far the outputs move.

        Parameters
        ----------
        mode : {"bf16", "int8", "int8x16", "int16"}
            bfloat16, or integers of 8 or 16 bits with a scale for each output channel. ``"int8"`` multiplies operands
            of 8 bits, the fastest, ``"int8x16"`` the same weights by operands of 16 bits, which moves outputs a third
            less, and ``"int16"`` 16-bit weights by such operands: as small as bfloat16, and outputs move about fifty
            times less.
        calibration_data : optional
            Typical inputs, as for ``predict``: some hundred sequences, labels are not needed. With them weights are not
            rounded to nearest, but so that the products with these inputs and the states they lead to move as little as
            possible (GPTQ; Frantar et al. 2023); outputs then move two to five times less.
        tolerance : float, optional
            How far an output may move on the calibration data. Layers that would move one farther, alone or together
            with those that move them less, get the next closer mode of ``"int8"``, ``"int8x16"`` and ``"int16"``, or
            keep float32 where none is enough (``layer.quantization_mode`` says which, None for float32).

        Raises
        ------
        ValueError
            If the mode is unknown, or there is nothing to quantize, or a layer is not built, not float32, has weights
            that are not finite or another mode already, or a tolerance comes without calibration data, is not positive,
            or no layer is within it; nothing has changed then.
        """
        on_demand("quantize")(self, mode, calibration_data, tolerance)

    def check_trainable(self) -> None:
        """Raise a ValueError if gradients are wanted of quantized weights."""
        if self.quantization_mode:
            raise ValueError(f"{self.name} is quantized to {self.quantization_mode}: it is for inference only")

    def weight_is_trained(self) -> list[bool]:
        """For each weight, whether training changes it."""
        flags = [w.trainable and self.trainable for w in self._weights]
        for layer in self.sublayers:
            flags += [flag and self.trainable for flag in layer.weight_is_trained()]
        return flags

    @property
    def trainable_weights(self) -> list[Weight]:
        return [w for w, trained in zip(self.weights, self.weight_is_trained(), strict=True) if trained]

    @property
    def non_trainable_weights(self) -> list[Weight]:
        return [w for w, trained in zip(self.weights, self.weight_is_trained(), strict=True) if not trained]

    @property
    def variables(self) -> list[Weight]:
        """The weights, by Keras' other name."""
        return self.weights

    @property
    def trainable_variables(self) -> list[Weight]:
        return self.trainable_weights

    @property
    def non_trainable_variables(self) -> list[Weight]:
        return self.non_trainable_weights

    def get_weights(self) -> list[Array]:
        """Copies of all weights, in Keras' order."""
        return [w.value.copy() for w in self.weights]

    def set_weights(self, weights: Any) -> None:
        """Set all weights from arrays in ``get_weights`` order; all are checked before the first is changed.

        Raises
        ------
        ValueError
            If the number of arrays or a shape differs.
        """
        own = self.weights
        arrays = [np.asarray(w) for w in weights]
        if len(arrays) != len(own):
            hint = "" if self.built else "; the layer is not built yet: call it once, or give it an input shape"
            raise ValueError(f"{self.name}: expected {len(own)} weight arrays, got {len(arrays)}{hint}")
        for weight, array in zip(own, arrays, strict=True):
            if array.shape != weight.shape:
                raise ValueError(
                    f"{self.name}: weight {weight.name!r} has shape {weight.shape}, got an array of shape {array.shape}"
                )
            if array.dtype.kind not in "fiub":
                raise ValueError(f"{self.name}: weight {weight.name!r} takes real numbers, got dtype {array.dtype}")
        with changing(own):
            for weight, array in zip(own, arrays, strict=True):
                weight.assign(array)

    def count_params(self) -> int:
        """Number of weight elements."""
        return sum(w.value.size for w in self.weights)

    @property
    def losses(self) -> list[float]:
        """Penalties of the regularizers of the weights that are trained."""
        return [float(w.regularizer(w.value)) for w in self.trainable_weights if w.regularizer is not None]

    # ---- Noise -----------------------------------------------------------------------------------------------------

    def seed_generators(self) -> list[Any]:
        """Every source of noise in this layer, in order; their states are saved with the optimizer."""
        own = [self.seed_generator] if hasattr(self, "seed_generator") else []
        for layer in self.sublayers:
            own += layer.seed_generators()
        return own

    # ---- Streaming -------------------------------------------------------------------------------------------------

    def stream(self, batch_size: int = 1) -> Any:
        """A stream that feeds this layer step by step; see `rnnx.streaming`."""
        return on_demand("Stream")(self, batch_size)

    # ---- Configuration ---------------------------------------------------------------------------------------------

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The layer of a configuration."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"


CONSTRUCTING.add(vars(Layer)["from_config"].__func__)


def weight_value(index: int) -> property:
    """A property that reads and assigns the value of the weight with this index in the layer's own list."""

    def read(self: Layer) -> Any:
        return assignable(self._weights[index]) if index < len(self._weights) else None

    def assign(self: Layer, value: Any) -> None:
        if index >= len(self._weights):
            raise ValueError(f"{self.name}: this weight does not exist (yet); build the layer first")
        self._weights[index].assign(value)

    return property(read, assign)


def base_of(cls: Any) -> Any:
    """The class on whose computation the ``call`` of a class of one's own stands: the nearest that has none itself."""
    return next(kind for kind in cls.__mro__ if getattr(kind, "call", None) is Layer.call)


def is_followed(layer: Any) -> bool:
    """Whether a layer is of a class with ``call`` of its own, and so does not compute what its base class does."""
    return bool(type(layer).follows_call)


def walk(layer: Layer) -> Iterator[Layer]:
    """A layer and all layers inside it."""
    yield layer
    for part in layer.sublayers:
        yield from walk(part)
