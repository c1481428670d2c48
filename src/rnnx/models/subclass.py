"""Models of one's own: classes with ``call``, whose ends and steps are those of the graph that it leaves."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx import _nested as nested
from rnnx._nested import LEAF, frozen, together
from rnnx.layers import call, constructor
from rnnx.layers.call import SIMPLE, Arguments
from rnnx.layers.graph import SymbolicTensor
from rnnx.layers.layer import Layer, base_of
from rnnx.layers.tracing import Traced
from rnnx.training.forms import inputs_of, is_ragged

NEVER_CALLED = {
    "train_step": "fit takes the loss and the optimizer of compile(...); say it in `call`, as a loss (a function, or a "
    "Loss with `call`), with self.add_loss in `call`, or write the loop with model.vjp and optimizer.apply",
    "test_step": "evaluate takes the loss and the metrics of compile(...); write own figures as metrics",
    "predict_step": "predict gives what `call` gives; say it there",
    "compute_loss": "give compile(loss=...) a function or a Loss with `call`, or use self.add_loss in `call`",
    "compute_metrics": "give compile(metrics=...) functions or Metrics of your own",
    "make_train_function": "fit has its own loop; use callbacks, or train_on_batch in a loop of your own",
    "make_test_function": "evaluate has its own loop; use callbacks, or test_on_batch in a loop of your own",
    "make_predict_function": "predict has its own loop; use callbacks, or predict_on_batch in a loop of your own",
}


OF_CALL = ("outputs", "several_outputs", "plan", "output_template")  # not of a graph that the model was made with


def graph_of(model: Any) -> Traced | None:
    """The graph that a model was built with, outside of training; None while there is none."""
    known = vars(model).get("_built_for")
    if known is None:
        return None
    structure, signature = known
    key = call.key_of(model, structure, signature)
    found = call.graphs_of(model).get(key)
    if found is not None:
        return found
    sketches = [_Sketch(shape, np.dtype(dtype)) for dtype, shape in signature]
    return call.graph_without_values(model, structure, sketches, False)


class _Sketch:
    """Shape and dtype of an array."""

    def __init__(self, shape: Any, dtype: Any):
        self.shape, self.dtype = tuple(shape), dtype


def _end(name: str, of_graph: Any, otherwise: Any = AttributeError) -> property:
    """An attribute that the graph of `call` says; what the class it is derived from says where there is none."""

    def read(self: Any) -> Any:
        known, own = graph_of(self), vars(self)
        if known is not None and (name not in own or name in OF_CALL):
            return of_graph(self, known)
        if name in own:
            return own[name]
        if otherwise is AttributeError:
            raise AttributeError(f"{own.get('name', type(self).__name__)}: no {name} yet; call the model once")
        return otherwise

    def put(self: Any, value: Any) -> None:
        vars(self)[name] = value

    return property(read, put)


def _inputs(self: Any, known: Traced) -> list[SymbolicTensor]:
    return [known.plan.tensors[place] for place in known.plan.inputs[: known.arguments]]


def _outputs(self: Any, known: Traced) -> list[SymbolicTensor]:
    return [known.plan.tensors[place] for place in known.plan.outputs[: known.outputs]]


def _is_built(self: Any) -> bool:
    own = vars(self)
    return bool(own.get("built")) and ("_built_for" in own or "plan" in own)


def _set_built(self: Any, value: Any) -> None:
    vars(self)["built"] = bool(value)


def prepare(self: Any, x: Any) -> Any:
    """Check and cast the input(s), and build the model for them."""
    given = Arguments(self, (x,), {})
    arrays = [self.cast(part) for part in given.tensors]
    call.build_for(self, given.structure, [part.shape for part in arrays])
    call.graph_without_values(self, given.structure, arrays, False)
    return arrays[0] if given.structure == SIMPLE else nested.packed(x, arrays)


def forward_with_mask(
    self: Any, x: Any, *, mask: Any = None, lengths: Any = None, training: bool = False, keep: bool = False
) -> tuple[Any, Any, Any]:
    """Outputs, the time mask of the (first) output, and the pullback."""
    given = Arguments(self, (x,), {})
    given.call = {"mask": mask, "lengths": lengths, "training": training}
    _, values, masks, pullback = call.eager(self, given, keep)
    return (values, masks, pullback) if len(values) > 1 else (values[0], masks[0], pullback)


def build(self: Any, input_shape: Any) -> None:
    """Build for an input of this shape, the batch axis included, or a list of such shapes."""
    several = bool(input_shape) and isinstance(input_shape[0], (list, tuple))
    shapes = input_shape if several else [input_shape]
    sketches = [_Sketch((None, *shape[1:]), self.dtype) for shape in shapes]
    first = call.call_of(type(self)).first
    structure = ("dict", (first, ("list", *[LEAF] * len(shapes)))) if several else SIMPLE
    call.graph_without_values(self, structure, sketches, False)


def build_again(self: Any, built_for: Any) -> None:
    """Build for what a configuration says that the model was built for."""
    self._built_for = frozen(built_for)
    graph_of(self)


def meet(self: Any, x: Any) -> None:
    """See whether this is a list of inputs, or of batches, before the model is built for them."""
    if _is_built(self) or isinstance(x, (np.ndarray, dict)):
        return
    vars(self).setdefault("several_outputs", False)  # until a batch says it
    first = x[0] if hasattr(x, "__getitem__") and hasattr(x, "__len__") and len(x) else None
    if isinstance(first, tuple) and len(first) in (2, 3):
        build_with(self, inputs_of(self, first[0]))
        return
    if not isinstance(x, (list, tuple)):
        return
    arrays = len(x) > 1 and all(isinstance(part, np.ndarray) for part in x)
    rows = {len(part) for part in x if np.ndim(part)} if arrays else set()
    vars(self)["_meets_several"] = arrays and (len(rows) == 1 or not is_ragged(x))


def build_with(self: Any, x: Any) -> None:
    """Build a model for data of this form: only then its outputs are known."""
    if _is_built(self):
        return
    parts = nested.leaves(x)
    if all(isinstance(part, np.ndarray) for part in parts):
        prepare(self, nested.packed(x, [part[:1] for part in parts]))


def _several_inputs(self: Any, known: Traced) -> bool:
    return vars(self)["_built_for"][0] != SIMPLE


def _read_several_inputs(self: Any) -> bool:
    own = vars(self)
    if "several_inputs" in own:
        return bool(own["several_inputs"])
    return _several_inputs(self, own) if "_built_for" in own else bool(own.get("_meets_several"))


def _input_axes(self: Any) -> int | None:
    return len(self.inputs[0].shape) if _is_built(self) else None


def from_config(cls: Any, config: dict[str, Any]) -> Any:
    """The model of a configuration: of a graph, or of arguments of the constructor."""
    if {"layers", "name"} <= config.keys():
        return base_of(cls).from_config.__func__(cls, config)
    return constructor.from_config(cls, config)


METHODS: dict[str, Any] = {
    "inputs": _end("inputs", _inputs),
    "outputs": _end("outputs", _outputs),
    "output_template": _end(
        "output_template", lambda self, known: nested.template_of(together(known.structure, range(known.outputs))), None
    ),
    "input_template": None,  # `call` gets its inputs in the form in which they come
    "several_outputs": _end("several_outputs", lambda self, known: known.outputs > 1),
    "several_inputs": property(_read_several_inputs, lambda self, value: vars(self).update(several_inputs=value)),
    "plan": _end("plan", lambda self, known: known.plan),
    "built": property(_is_built, _set_built),
    "input_axes": property(_input_axes),
    "prepare": prepare,
    "forward_with_mask": forward_with_mask,
    "meet": meet,
    "build_again": build_again,
    "build_with": build_with,
    "calls_inside": Layer.calls_inside,
    "compute_mask": Layer.compute_mask,
}


def honour_call_of_model(cls: Any) -> None:
    """Let a model compute what its ``call`` says; the layer's part is done already."""
    base = base_of(cls)
    own = cls.__mro__[: cls.__mro__.index(base)]
    for name, method in METHODS.items():
        if name != "compute_mask" or not any(name in vars(kind) for kind in own):
            setattr(cls, name, method)
    if not any("from_config" in vars(kind) for kind in own):
        cls.from_config = classmethod(from_config)
    if not hasattr(base, "add"):  # a chain says its layers itself
        cls.layers = property(call.sublayers, base.layers.fset)
    if base.build is Layer.build and not any("build" in vars(kind) for kind in own):
        cls.build, cls.built_by_call = build, True
    if not any({"compute_mask", "supports_masking"} & vars(kind).keys() for kind in own):
        cls.supports_masking = False
