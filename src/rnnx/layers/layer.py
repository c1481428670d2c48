"""What every layer is: weights, a forward function with its pullback, and a configuration."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from rnnx import regularizers
from rnnx._assigned import Assigned
from rnnx._changes import Changes
from rnnx._config import did_you_mean, on_demand
from rnnx._nested import leaves
from rnnx._typing import Array
from rnnx.layers import carried as carried_masks
from rnnx.layers import graph
from rnnx.layers.base_call import BaseCall
from rnnx.layers.building import build_once
from rnnx.layers.checks import as_masks, check_dtype, given_shape, kind_of
from rnnx.layers.gradients import Gradients, Pullback
from rnnx.layers.limits import budget
from rnnx.layers.names import unique_name
from rnnx.layers.registry import CONSTRUCTING, register
from rnnx.layers.symbolic_ends import SymbolicEnds
from rnnx.layers.weight import Weight
from rnnx.layers.weight_owner import WeightOwner, weight_value

__all__ = ["Gradients", "Layer", "Pullback", "Weight", "base_of", "walk", "weight_value"]

QUANTIZATION_MODES = ("bf16", "int8", "int8x16", "int16")
MODES_OF_0_1_0 = {"int8": "int8x16"}  # what modes in its files and pickles are called now
LEGACY_IGNORED = {"weights", "input_length"}
NOT_KEPT = ("_build_lock", "_memo", "_lookups", "_node", "_computation")  # of a copy or a pickle
INPUT_NAMES = ("x", "inputs", "sequences", "sequence")  # by which a call may name its input, as in Keras


def _masked(x: Any, call: dict[str, Any]) -> bool:
    """Whether a call has masks, as arguments or on its inputs."""
    return call.get("mask") is not None or call.get("lengths") is not None or carried_masks.carries(x)


class Layer(WeightOwner, SymbolicEnds, Assigned, family=True):
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

    given_input_shape: Any
    given_batch_size: Any
    activity_regularizer: Any
    _initial_weights: Any
    _build_lock: Any
    supports_masking = True
    makes_mask = False  # whether outputs may have a mask where no input has one
    makes_other_types = False  # whether outputs may be of another type than the layer; `compute_output_dtype` says it
    call_arguments = frozenset({"mask", "training"})
    given_axes = 1  # of a sample of which `input_dim` alone gives the last
    positional_arguments: tuple[str, ...] = ()  # behind the input, in Keras' order
    records_inference = True  # whether ``training=False`` in a graph counts in training too, or leaves it to the model
    outputs_by_call = False  # whether the arguments of a call decide how many outputs there are
    output_template: Any = None  # of a model whose outputs are in a dict, a tuple or lists inside lists
    quantization_mode: str | None = None  # how the kernels are read in inference; see `quantize`
    built_by_call = False  # whether only a call builds it: a model of one's own
    overrides_call = False  # whether the class has `call` of its own, which is traced: see `rnnx.layers.traced_call`
    says_sublayers = False  # whether a class of somebody else has `sublayers` of its own
    call_is_all = False  # whether that is all: the class below computes nothing
    takes_lookups = False  # whether `forward` takes ``looked_up=``: of which rows of an Embedding the input is
    knows_trained = False  # whether its pullback takes ``trained=layer.trained_weights()``
    class_name = "Layer"  # by which files know the class
    fixed_when_built = frozenset({"dtype"})

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        register(cls)
        if "build" in vars(cls):
            type.__setattr__(cls, "build", build_once(vars(cls)["build"], cls))
        if "sublayers" in vars(cls):
            cls.says_sublayers = True
        if cls.call is not Layer.call:
            on_demand("declare_call")(cls)
        if "__init__" in vars(cls) and cls.__module__.split(".")[0] != "rnnx":
            on_demand("remember_arguments")(cls)

    def __init__(
        self,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = "float32",
        **kwargs: Any,
    ):
        if (left := budget()) is not None:
            left.take_layer()
        shape, batch_size = given_shape(type(self).__name__, kwargs, self.given_axes) if kwargs else (None, None)
        if mode := kwargs.pop("quantization_mode", None):
            if mode not in QUANTIZATION_MODES:
                raise ValueError(f"{type(self).__name__}: unknown quantization_mode {mode!r}")
            self.quantization_mode = mode
        penalty = regularizers.get(kwargs.pop("activity_regularizer", None)) if self.overrides_call else None
        if unknown := kwargs.keys() - LEGACY_IGNORED:
            known = {name for kind in type(self).__mro__[:-1] for name in inspect.signature(kind).parameters}
            raise TypeError(
                f"{type(self).__name__}: unknown argument(s) {', '.join(sorted(unknown))}{did_you_mean(unknown, known)}"
            )
        if name is not None and (not isinstance(name, str) or not name):
            raise ValueError(f"{type(self).__name__}: `name` must be a string that is not empty, got {name!r}")
        if not isinstance(trainable, (bool, np.bool_)):
            raise ValueError(f"{type(self).__name__}: `trainable` must be True or False, got {trainable!r}")
        given = kwargs.get("weights")
        vars(self).update(
            given_input_shape=shape,
            given_batch_size=batch_size,
            name=name if name is not None else unique_name(type(self).__name__),
            _trainable=bool(trainable),
            dtype=check_dtype(type(self).__name__, dtype),
            built=False,
            activity_regularizer=penalty,
            _weights=[],
            _initial_weights=[given] if isinstance(given, np.ndarray) else given,
            _build_lock=threading.RLock(),
            _building=False,  # or the class whose `build` is running
        )

    # ---- What subclasses implement -------------------------------------------------------------------------------

    @build_once
    def build(self, input_shape: Any) -> None:
        """Make the weights for inputs of this shape (batch first, unknown sizes None)."""

    def is_ready(self) -> bool:
        """Whether nothing is missing after `build`: a model with ``call`` also needs its graph."""
        return True

    def forward(
        self, x: Any, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Any, Pullback | None]:
        """Outputs and, with ``keep``, the pullback ``pullback(dy, need_dx=True) -> Gradients``.

        The layer is built and the input checked and cast when this is called.
        """
        if self.overrides_call:
            y, pullback = self.computation.forward(x, mask=mask, training=training, keep=keep, **call)
            return y, pullback
        raise NotImplementedError(f"{type(self).__name__} does not say how to compute its output: implement `forward`")

    def call(self, x: Any, *given: Any, **call: Any) -> Any:
        """What a class of one's own computes, in symbolic tensors: it is called once with them, and the graph is run.

        A class that defines ``call(self, inputs, ...)`` needs no other method. Arguments are tensors in lists, tuples
        and dicts, constants, ``training`` (True or False) and ``mask`` (None if there is none). Weights of
        `add_weight`, layers that are attributes, operators, `rnnx.ops` and functions of NumPy may be used.

        The ``call`` of a class that is there already, as in ``super().call(x)``, is what that class computes.
        """
        if not self.overrides_call:
            return self(x, *given, **call)
        return self._call_base(x, given, call)

    def _call_base(self, x: Any, given: tuple[Any, ...], call: dict[str, Any]) -> Any:
        """What the class computes that this one is derived from; all but ``call`` is inherited from it."""
        base = base_of(type(self))
        if base is Layer:
            raise NotImplementedError(f"{type(self).__name__} does not say how to compute its output: implement `call`")
        if type(self).build is not base.build is not Layer.build and not self._weights:
            with self._build_lock:  # a `build` of the class has left that of this one out
                self.built = False
                vars(self).pop("_build_ran", None)
                base.build(self, x.shape)
        return self._call(*self._by_name((x, *given), call))

    @property
    def computation(self) -> Any:
        """What computes the outputs: this layer, or what has the graphs of its ``call``."""
        if not self.overrides_call:
            return self
        found = vars(self).get("_computation")
        return vars(self).setdefault("_computation", on_demand("TracedCall")(self)) if found is None else found

    def base_call(self) -> BaseCall:
        """What stands for ``super().call(x)`` in the graph of ``call``."""
        return BaseCall(self)

    def forward_masked(self, x: Any, *, mask: Any = None, keep: bool = False, **call: Any) -> tuple[Any, Any, Any]:
        """Outputs, their time mask and the pullback: `forward` and `compute_mask` together, as a model needs them."""
        y, pullback = self.forward(x, mask=mask, keep=keep, **call)
        return y, self.compute_mask(x, mask), pullback

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shape of the output for an input of this shape."""
        return self.computation.graph_output_shape(input_shape) if self.call_is_all else input_shape

    def compute_output_dtype(self, input_shape: Any, input_dtype: list[Any]) -> Any:
        """Element type of the output, or a list of those of several, for the types of all inputs; the layer's own."""
        return self.dtype

    def call_output_shapes(self, input_shape: Any, call: dict[str, Any]) -> Any:
        """Shape of the output, or a list of those of several, of a call with these arguments."""
        return self.compute_output_shape(input_shape)

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """The time mask of the output; by default that of the input."""
        return mask if self.supports_masking else None

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the layer again."""
        config = {"name": self.name, "trainable": self.trainable, "dtype": self.dtype.name}
        if self.overrides_call and self.activity_regularizer is not None:
            config["activity_regularizer"] = regularizers.serialize(self.activity_regularizer)
        if self.quantization_mode:
            config["quantization_mode"] = self.quantization_mode
        return config

    # ---- Calling ---------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **call: Any) -> Any:
        """Arrays in, arrays out; symbolic tensors in, symbolic tensors out.

        The input comes first, or as ``inputs=``; arguments without a name behind it are those of
        `positional_arguments`, in this order. A class with ``call`` of its own takes the arguments of that.

        What a layer returns that makes a time mask, or gets one in the call or with its input, carries the mask on to
        the next layer (unless the layer ends it, as in a model): see `rnnx.layers.carried`.
        """
        if self.overrides_call:
            return self.computation(*args, **call)
        if len(args) == 1:
            return self._call(args[0], call)
        return self._call(*self._by_name(args, call))

    def _by_name(self, args: tuple[Any, ...], call: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The input of a call, and the arguments behind it by their names."""
        if not args:
            known = next((name for name in INPUT_NAMES if name in call), None)
            if known is None:
                raise TypeError(f"{self.name}: an input is needed: call it as layer(x) or layer(inputs=x)")
            return call.pop(known), call
        x, *given = args
        names = self.positional_arguments
        if len(given) > len(names):
            known = f"behind the input only {', '.join(names)}" if names else "nothing behind the input"
            raise TypeError(f"{self.name}: {known} can be given without a name, got {len(given)} argument(s)")
        for name, value in zip(names, given, strict=False):
            if name in call:
                raise TypeError(f"{self.name}: `{name}` is given twice")
            if value is not None:
                call[name] = value
        return x, call

    def _call(self, x: Any, call: dict[str, Any]) -> Any:
        if call and not call.keys() <= self.call_arguments:
            self._refuse_arguments(call)
        if type(x) is not np.ndarray or call:
            if graph.is_symbolic(x) or graph.is_symbolic(call.get("initial_state")):
                return graph.call(self, x, call)
            if _masked(x, call):
                return self._call_masked(x, call, False)[0]
        x = self.prepare(x)
        if (call and call.get("training")) or self.leaves_traces():
            with Changes():
                return self.forward(x, **call)[0]
        return (self.forward(x, **call) if call else self.forward(x))[0]

    def vjp(self, *args: Any, **call: Any) -> tuple[Any, Pullback]:
        """The same call, differentiable.

        Returns
        -------
        y : array or list of arrays
        pullback : callable
            ``pullback(dy, need_dx=True)`` gives the `Gradients` for the gradient of ``y``.
        """
        if self.overrides_call:
            y, pullback = self.computation.vjp(*args, **call)
            return y, pullback
        x, call = self._by_name(args, call)
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
        if call and not call.keys() <= self.call_arguments:
            self._refuse_arguments(call)
        if type(x) is not np.ndarray and graph.is_symbolic(x):
            return graph.call(self, x, call)
        return self._call_masked(x, call, False)[0]

    def _call_masked(self, x: Any, call: dict[str, Any], keep: bool) -> tuple[Any, Pullback | None]:
        """A call with masks: those of the arguments, or those that the inputs carry; the outputs carry theirs."""
        carried = None
        if type(x) is not np.ndarray:
            x, carried = carried_masks.unwrap(x)
        x = self.prepare(x)
        if call.get("mask") is not None:
            call = {**call, "mask": self.given_mask(x, call["mask"])}
        elif carried is not None and call.get("lengths") is None:
            call = {**call, "mask": carried}
        with Changes():
            y, mask, pullback = self.forward_masked(x, keep=keep, **call)
        if mask is None and not call:
            return y, pullback
        if call.get("return_masks"):
            y, drawn = y
            return (carried_masks.all_carrying(y, mask), drawn), pullback
        return carried_masks.all_carrying(y, mask), pullback

    def given_mask(self, x: Any, mask: Any) -> Any:
        """The mask that a call was given for this input, as booleans."""
        return as_masks(self.name, mask, isinstance(x, (list, tuple)))

    def leaves_traces(self) -> bool:
        """Whether a call may change something in this layer also outside training: a carried state, drawn noise."""
        for layer in self.sublayers if self.says_sublayers else self.inner_layers:
            if (layer.computation if layer.overrides_call else layer).leaves_traces():
                return True
        return bool(getattr(self, "stateful", False))

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
        vars(self)["dtype"] = np.dtype(self.dtype.name)  # pickles make another object of it; calls ask for this one

    # ---- Inside and in training -------------------------------------------------------------------------------------

    @property
    def calls_inside(self) -> int:
        """How many calls of layers inside a call of this one leads to."""
        calls = 0
        for layer in self.sublayers if self.overrides_call or self.says_sublayers else self.inner_layers:
            calls += 1 + layer.calls_inside
        return calls

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

    # ---- Noise -----------------------------------------------------------------------------------------------------

    def seed_generators(self) -> list[Any]:
        """Every source of noise in this layer, in order; their states are saved with the optimizer."""
        own = [self.seed_generator] if hasattr(self, "seed_generator") else []
        for layer in self.sublayers if self.overrides_call or self.says_sublayers else self.inner_layers:
            own += layer.seed_generators()
        return own

    # ---- Streaming -------------------------------------------------------------------------------------------------

    def stream(self, batch_size: int = 1, mc: int | None = None) -> Any:
        """A stream that feeds this layer step by step; with ``mc`` of so many samples of it. See `rnnx.streaming`."""
        if mc is not None:
            return on_demand("MonteCarloStream")(self, batch_size, mc)
        return on_demand("Stream")(self, batch_size)

    # ---- Configuration ---------------------------------------------------------------------------------------------

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The layer of a configuration."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"


CONSTRUCTING.add(vars(Layer)["from_config"].__func__)


def base_of(cls: Any) -> Any:
    """The class that computes what ``super().call(x)`` is: the nearest one without ``call`` of its own."""
    return next(kind for kind in cls.__mro__ if getattr(kind, "call", None) is Layer.call)


def walk(layer: Layer) -> Iterator[Layer]:
    """A layer and all layers inside it."""
    yield layer
    for part in layer.sublayers:
        yield from walk(part)
