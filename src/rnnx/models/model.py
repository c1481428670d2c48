"""Models: layers joined into a graph."""

from __future__ import annotations

from typing import Any

from rnnx import _nested as nested
from rnnx._changes import Changes
from rnnx._config import refuse_overrides
from rnnx.layers import constructor
from rnnx.layers.call_signature import own_classes
from rnnx.layers.checks import starting_mask
from rnnx.layers.graph import Node, SymbolicTensor
from rnnx.layers.layer import Gradients, Layer, Weight
from rnnx.layers.old_words import old_word
from rnnx.layers.plan import Plan
from rnnx.layers.trained import TrainedWeights
from rnnx.models.config import begun_at, graph_config, graph_from_config
from rnnx.models.ends import Ends, in_form
from rnnx.models.files import ModelFiles
from rnnx.models.state_tree import StateTree
from rnnx.models.traced_model import (
    NEVER_CALLED,
    OfGraph,
    TracedModel,
    computes_nothing,
    expects_one_output,
    expects_several_inputs,
    has_several_inputs,
    template_at_end,
    template_at_start,
    tensors_at_end,
    tensors_at_start,
)
from rnnx.training.forms import only_one
from rnnx.training.logs import LogsInUse
from rnnx.training.trainer import Trainer

NOT_KEPT = ("nodes", "_calls_inside")  # of a pickle: the plan says both; rnnx 0.1.0 had them as attributes


class Model(Ends, ModelFiles, StateTree, Trainer, Layer):
    """A graph of layers.

    Parameters
    ----------
    inputs, outputs : SymbolicTensor, or a list, tuple or dict of them, also inside each other
        The model takes and returns arrays in this form. Inputs may be tensors inside another graph: the model begins
        there.
    name : str, optional

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> x = rnnx.Input((None, 3))
    >>> model = rnnx.Model(x, rnnx.layers.Dense(2)(rnnx.layers.GRU(4)(x)))
    >>> model(np.zeros((5, 7, 3))).shape
    (5, 2)
    """

    call_arguments = frozenset({"mask", "training", "lengths"})
    positional_arguments = ("training", "mask")
    makes_mask = True
    makes_other_types = True
    knows_trained = True
    __setattr__: Any = object.__setattr__  # arguments of models are graphs, which `set_graph` checks
    graph_model: Any = None  # with the graph that a model with `call` of its own was made with
    # Inputs, outputs, and templates where they are in dicts, tuples or lists inside lists: those of `set_graph`, or
    # those of the graph of `call`.
    inputs: Any = OfGraph(tensors_at_start, False)
    outputs: Any = OfGraph(tensors_at_end, True)
    plan: Any = OfGraph(lambda model, graph: graph.plan, True)
    input_template: Any = OfGraph(template_at_start, False, lambda model: None)
    output_template: Any = OfGraph(template_at_end, True, lambda model: None)
    several_inputs: Any = OfGraph(has_several_inputs, False, expects_several_inputs)
    several_outputs: Any = OfGraph(lambda model, graph: graph.outputs > 1, True, expects_one_output)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        refuse_overrides(cls, NEVER_CALLED)
        if cls.overrides_call:
            own = own_classes(cls)
            cls.built_by_call = cls.build is Model.build
            if not any({"compute_mask", "supports_masking"} & vars(kind).keys() for kind in own):
                cls.supports_masking = False

    def __init__(
        self, inputs: Any = None, outputs: Any = None, name: str | None = None, trainable: bool = True, **kwargs: Any
    ):
        if "input" in kwargs and inputs is None:
            inputs = old_word(self, "input", kwargs)
        if "output" in kwargs and outputs is None:
            outputs = old_word(self, "output", kwargs)
        super().__init__(name=name, trainable=trainable, **kwargs)
        if (inputs is None) != (outputs is None):
            raise ValueError("Model: give both `inputs` and `outputs`")
        if inputs is not None:
            self.set_graph(inputs, outputs)

    # ---- The graph -------------------------------------------------------------------------------------------------

    def set_graph(self, inputs: Any, outputs: Any) -> None:
        """Take these symbolic tensors as inputs and outputs."""
        if self.overrides_call:
            self.graph_model = Model(inputs, outputs, name=self.name)
            self.dtype, self.built = self.graph_model.dtype, True
            return
        forms: list[Any] = [None, None]
        if isinstance(inputs, SymbolicTensor) and isinstance(outputs, SymbolicTensor) and not inputs.node.inputs:
            starts, ends = [inputs], [outputs]  # a chain has no other, and files of chains are to be read fast
        else:
            starts, ends = begun_at(nested.leaves(inputs), nested.leaves(outputs))
            forms = [nested.template_of(inputs), nested.template_of(outputs)]
        plan = Plan(starts, ends)
        self.input_template, self.output_template = forms
        self.several_inputs, self.several_outputs = len(starts) != 1, len(ends) != 1  # a list of one is that one
        self.inputs, self.outputs = starts, ends
        self.plan = plan
        vars(self)["layers"] = plan.layers()
        self.dtype = self.plan.steps[0].layer.dtype if self.plan.steps else self.dtype
        self.built = True

    @property
    def layers(self) -> list[Layer]:
        """The layers, those of the inputs first."""
        if self.overrides_call:
            return self.sublayers
        found: list[Layer] = vars(self).get("layers", [])
        return found

    @layers.setter
    def layers(self, value: Any) -> None:
        raise AttributeError(f"{self.name}: `layers` are those of the graph; keep others under another name")

    @property
    def inner_layers(self) -> list[Layer]:
        found: list[Layer] = vars(self.graph_model or self).get("layers", [])
        return found

    @property
    def computation(self) -> Any:
        if not self.overrides_call:
            return self
        found = vars(self).get("_computation")
        return vars(self).setdefault("_computation", TracedModel(self)) if found is None else found

    @property
    def nodes(self) -> list[Node]:
        """The calls of the layers, each after those it needs."""
        return [step.node for step in self.plan.steps]

    @property
    def calls_inside(self) -> int:
        return self.plan.calls if self.built and not self.overrides_call else super().calls_inside

    @property
    def weights(self) -> list[Weight]:
        """All weights, in ``get_weights`` order; those of a layer that is there several times come once."""
        return list({id(w): w for w in super().weights}.values())

    def weight_is_trained(self) -> list[bool]:
        flags: dict[int, bool] = {}
        for weight, trained in zip(super().weights, super().weight_is_trained(), strict=True):
            flags[id(weight)] = flags.get(id(weight), False) or trained
        return list(flags.values())

    def trained_weights(self) -> TrainedWeights:
        """The weights, and which of them are trained, as things stand."""
        return TrainedWeights(self)

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in super().__getstate__().items() if name != "plan"}
        if "plan" not in vars(self):  # of a class with `call`, whose graph is made again
            return state
        # The calls first and in order: each finds its inputs made, and a deep graph is no deep recursion.
        return {"nodes": self.nodes, **state} if self.built else state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({name: value for name, value in state.items() if name not in NOT_KEPT})
        self._handed_out = LogsInUse()  # of 0.1.0 there was none
        if not self.built or "inputs" not in vars(self):
            return
        self.plan = Plan(self.inputs, self.outputs)
        for tensor in self.plan.tensors:
            if tensor.node.layer._node is None:
                tensor.node.layer._node = tensor.node

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """A layer by its name or its place.

        Raises
        ------
        ValueError
            If there is none.
        """
        if index is not None:
            if not -len(self.layers) <= index < len(self.layers):
                raise ValueError(f"{self.name}: there are {len(self.layers)} layers, no layer {index}")
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ValueError(f"{self.name}: no layer {name!r}; there are {', '.join(layer.name for layer in self.layers)}")

    # ---- Running ---------------------------------------------------------------------------------------------------

    def _call(self, x: Any, call: dict[str, Any]) -> Any:
        if isinstance(x, dict) or self.input_template is not None:
            x = self.flat_inputs(x)
        y = self._call_making_mask(x, call)
        if self.output_template is None:
            return y
        return nested.packed(self.output_template, y if self.several_outputs else [y])

    def vjp(self, *args: Any, **call: Any) -> tuple[Any, Any]:
        if self.overrides_call:
            return super().vjp(*args, **call)
        x, call = self._by_name(args, call)
        if isinstance(x, dict) or self.input_template is not None:
            x = self.flat_inputs(x)
        y, pullback = super().vjp(x, **call)
        if self.input_template is None and self.output_template is None:
            return y, pullback

        def packing(dy: Any, **options: Any) -> Gradients:
            if self.output_template is not None:
                dy = nested.matched(f"{self.name}: gradients", self.output_template, dy)
                dy = dy if self.several_outputs else dy[0]
            grads = pullback(dy, **options)
            grads.dx = in_form(self.input_template, self.several_inputs, leaves_of(grads.dx))
            return grads

        leaves_of = list if self.several_inputs else lambda dx: [dx]
        return in_form(self.output_template, self.several_outputs, y if self.several_outputs else [y]), packing

    def takes_list(self, x: Any) -> bool:
        return self.several_inputs if self.built else super().takes_list(x)

    def prepare(self, x: Any) -> Any:
        if self.overrides_call:
            return self.computation.prepare(x)
        if isinstance(x, (list, tuple)) and not self.several_inputs:
            x = only_one(x, self.input_axes)
        if not self.built:
            self.build_for(x)
        if isinstance(x, dict) or self.input_template is not None:
            x = self.flat_inputs(x)
        if not self.several_inputs:
            return self.check_input(0, x)
        if not isinstance(x, (list, tuple)) or len(x) != len(self.inputs):
            raise ValueError(f"{self.name}: expected a list of {len(self.inputs)} inputs")
        return [self.check_input(number, part) for number, part in enumerate(x)]

    def is_ready(self) -> bool:
        return "_built_for" in vars(self) or (self.graph_model is not None and self.graph_model.built)

    def _call_base(self, x: Any, given: tuple[Any, ...], call: dict[str, Any]) -> Any:
        if self.graph_model is None:
            raise ValueError(f"{self.name}: this model has no layers yet")
        return self.graph_model(x, *given, **call)

    def build(self, input_shape: Any) -> None:
        """Build for an input of this shape, the batch axis included, or a list of such shapes."""
        if self.built_by_call:  # not for a `build` of the class that calls this one: it may have more to make
            self.computation.build(input_shape)

    def build_again(self, built_for: Any) -> None:
        """Build a model with `call` for what a configuration says that it was built for."""
        self.computation.build_again(built_for)

    def note_form(self, x: Any) -> None:
        if self.overrides_call:
            self.computation.note_form(x)

    def build_with(self, x: Any) -> None:
        if self.overrides_call:
            self.computation.build_with(x)

    def build_for(self, x: Any) -> None:
        """Build a model that was waiting for data."""
        raise ValueError(f"{self.name}: {computes_nothing(self)}")

    def forward_with_mask(
        self, x: Any, *, mask: Any = None, lengths: Any = None, training: bool = False, keep: bool = False
    ) -> tuple[Any, Any, Any]:
        """Outputs, the time mask of the (first) output, and the pullback.

        Parameters
        ----------
        x : array or list of arrays
        mask : bool array of shape (batch, timesteps), optional
            Starting mask of the first input; for several inputs also a list with one for each or None.
        lengths : int array of shape (batch,), optional
            Valid steps of each row of the first input, instead of ``mask``.
        training, keep : bool
        """
        if self.overrides_call:
            y, found, pullback = self.computation.forward_with_mask(
                x, mask=mask, lengths=lengths, training=training, keep=keep
            )
            return y, found, pullback
        x = self.prepare(x)
        with Changes():
            return self.forward_masked(x, mask=mask, lengths=lengths, training=training, keep=keep)

    def forward_masked(
        self,
        x: Any,
        *,
        mask: Any = None,
        keep: bool = False,
        lengths: Any = None,
        training: bool = False,
        **call: Any,
    ) -> tuple[Any, Any, Any]:
        """`forward_with_mask` of prepared inputs, with the time mask of every output."""
        if self.overrides_call:
            y, found, back = self.computation.forward_masked(
                x, mask=mask, keep=keep, lengths=lengths, training=training, **call
            )
            return y, found, back
        arrays = x if self.several_inputs else [x]
        masks: list[Any] = [None] * len(arrays)
        if mask is not None or lengths is not None:
            first, *others = mask if isinstance(mask, (list, tuple)) and self.several_inputs else [mask]
            masks[: 1 + len(others)] = starting_mask(self.name, arrays[0], first, lengths), *others
        outputs, output_masks, pullback = self.plan.forward(self, arrays, masks, training, keep)
        if self.several_outputs:
            return outputs, output_masks, pullback
        return outputs[0], output_masks[0], pullback

    def leaves_traces(self) -> bool:
        return self.overrides_call or super().leaves_traces() or self.plan.draws_noise()

    def forward(
        self, x: Any, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Any, Any]:
        y, _, pullback = self.forward_masked(x, mask=mask, training=training, keep=keep, **call)
        return y, pullback if keep else None

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """The time mask(s) of the output(s), which may depend on values: the model is run for it."""
        if self.overrides_call:
            return Layer.compute_mask(self, x, mask)
        with Changes(kept=False):
            return self.forward_with_mask(x, mask=mask)[1]

    def compute_output_shape(self, input_shape: Any) -> Any:
        if self.overrides_call:
            return self.computation.graph_output_shape(input_shape)
        if self.input_template is not None:
            input_shape = nested.matched(f"{self.name}: shapes", self.input_template, input_shape)
            input_shape = input_shape if self.several_inputs else input_shape[0]
        shapes = self.flat_output_shapes(input_shape)
        return in_form(self.output_template, self.several_outputs, shapes if self.several_outputs else [shapes])

    def call_output_shapes(self, input_shape: Any, call: dict[str, Any]) -> Any:
        if self.output_template is None:
            return self.compute_output_shape(input_shape)
        return self.flat_output_shapes(input_shape)

    def flat_output_shapes(self, input_shape: Any) -> Any:
        """The shape of the output, or a list of those of all outputs, for inputs in a list."""
        shapes = self.plan.shapes(input_shape if self.several_inputs else [input_shape])
        return shapes if self.several_outputs else shapes[0]

    def compute_output_dtype(self, input_shape: Any, input_dtype: list[Any]) -> Any:
        if self.overrides_call:
            return self.computation.compute_output_dtype(input_shape, input_dtype)
        types = [tensor.dtype for tensor in self.outputs]
        return types if self.several_outputs else types[0]

    # ---- In training ------------------------------------------------------------------------------------------------

    def regularization_loss(self) -> float:
        """Sum of the penalties of the regularizers of all weights that are trained."""
        return float(sum(self.losses))

    @property
    def is_stateful(self) -> bool:
        """Whether a layer carries its state from batch to batch."""
        return any(getattr(layer, "stateful", False) for layer in self.sublayers)

    def warm_up(self, cache: Any = None) -> None:
        """Make now what the first call makes: the weights in the layout of the engine.

        A service that forks its workers calls this before, so that all of them share the memory; or gives workers that
        start by themselves a ``cache``. What streams need besides, a stream or pool makes that is made before.

        Parameters
        ----------
        cache : path, optional
            A file with the packed weights, and large ones that are not mapped yet, which all processes map that name
            it. It is written if it is not there or not of these weights on this processor, whole or not at all; every
            byte is compared with what packing makes before it is used. If it can be neither used nor written (a folder
            that is not one's own, a full disk, a file that others may change), one warning says so, and the weights are
            packed in this process alone.

        Raises
        ------
        ValueError
            If the model is not built yet.

        Examples
        --------
        >>> import rnnx
        >>> model = rnnx.Sequential([rnnx.Input((None, 3)), rnnx.layers.GRU(4)])
        >>> model.warm_up()
        """
        if not self.built:
            raise ValueError(f"{self.name}: not built yet, there are no weights to pack; call it once first")
        from rnnx.models.packed_file import warm_up

        warm_up(self, cache)

    def reset_states(self) -> None:
        """Forget the states of all stateful layers."""
        for layer in self.layers:
            if hasattr(layer, "reset_states"):
                layer.reset_states()

    reset_state = reset_states

    # ---- Looking at it ---------------------------------------------------------------------------------------------

    def summary(
        self,
        line_length: int | None = None,
        positions: Any = None,
        print_fn: Any = print,
        expand_nested: bool = False,
        show_trainable: bool = False,
    ) -> None:
        """Print a table of the layers, their output shapes and their numbers of weights.

        Parameters
        ----------
        line_length, positions
            Not needed: columns are as wide as their contents.
        print_fn : callable
            Gets the whole text.
        expand_nested : bool
            The layers of models inside this one too.
        show_trainable : bool
            Which layers are trained.
        """
        from rnnx.models.summary import table

        (print_fn or print)(table(self, expand_nested, show_trainable))

    # ---- Configuration ---------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        if not self.overrides_call:
            return graph_config(self)
        if self.graph_model is None:  # asked by a `get_config` of the class
            return Layer.get_config(self)
        return {**graph_config(self.graph_model), "name": self.name, "trainable": self.trainable}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        if cls.overrides_call and not {"layers", "name"} <= config.keys():
            return constructor.from_config(cls, config)
        if cls is not Model and "layers" not in config:  # what a class of one's own gave
            return cls(**config)
        inputs, outputs = graph_from_config(config)
        return cls(inputs, outputs, name=config["name"], trainable=config.get("trainable", True))
