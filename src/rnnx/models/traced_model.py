"""Models with ``call`` of their own: their inputs, outputs and steps are those of the graph that it leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx import _nested as nested
from rnnx._nested import CONTAINERS, count_leaves, frozen, unflatten
from rnnx.layers.call_arguments import SIMPLE, Arguments, list_structure
from rnnx.layers.traced_call import TracedCall
from rnnx.layers.traced_shapes import Sketch
from rnnx.layers.tracing import Traced
from rnnx.training.forms import inputs_of, is_ragged
from rnnx.training.stored import Stored

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


def computes_nothing(model: Any) -> str:
    """Why a model that has neither a graph nor a ``call`` cannot be used."""
    if "_chain" in vars(model):
        if vars(model)["_chain"]:
            return "the shape of its input is not known yet; put rnnx.Input(shape) in front, or call the model once"
        return "this model has no layers yet"
    text = "a model needs `inputs` and `outputs`, or a class that defines `call(self, inputs)`"
    kinds = type(model).__mro__
    named = any("forward" in vars(kind) and kind.__module__.split(".")[0] != "rnnx" for kind in kinds)
    return f"{text}; write `call` where PyTorch has `forward`" if named else text


class OfGraph:
    """An attribute of a model that the graph of its ``call`` says.

    Other models have it among their own attributes, which come first: there is no ``__set__``. A model that was made
    with a graph, or is a chain, and defines ``call`` too has that as a model inside.

    Parameters
    ----------
    read : callable
        What the graph of the model says.
    of_call : bool
        Whether the graph of ``call`` counts before that of the model inside.
    otherwise : callable, optional
        What it is while there is no graph; there is no such attribute then if it is not given.
    """

    def __init__(
        self, read: Callable[[Any, Traced], Any], of_call: bool, otherwise: Callable[[Any], Any] | None = None
    ):
        self._read, self._of_call, self._otherwise = read, of_call, otherwise

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, model: Any, owner: Any = None) -> Any:
        if model is None:
            return self
        inner = model.graph_model
        if model.overrides_call and (self._of_call or inner is None):
            graph = model.computation.main_graph()
            if graph is not None:
                return self._read(model, graph)
        if inner is not None:
            return getattr(inner, self._name)
        if self._otherwise is None or not (model.overrides_call or self._name.endswith("_template")):
            name = vars(model).get("name", type(model).__name__)
            if not model.overrides_call:
                raise AttributeError(f"{name}: {computes_nothing(model)}")
            raise AttributeError(f"{name}: no {self._name} yet; call the model once")
        return self._otherwise(model)


def tensors_at_start(model: Any, graph: Traced) -> Any:
    """The symbolic inputs of a graph."""
    return [graph.plan.tensors[place] for place in graph.plan.inputs[: graph.arguments]]


def tensors_at_end(model: Any, graph: Traced) -> Any:
    """The symbolic outputs of a graph."""
    return graph.output_tensors()


def template_at_end(model: Any, graph: Traced) -> Any:
    """The form of the outputs of a graph."""
    return nested.template_of(unflatten(graph.structure, range(graph.outputs)))


def template_at_start(model: Any, graph: Traced) -> Any:
    """The form of the inputs of a graph, if they are in containers inside each other; None if they need none."""
    kind, *parts = vars(model)["_built_for"][0][1][1]
    inside = [part[1] if kind == "dict" else part for part in parts] if kind in ("dict", "list", "tuple") else []
    deep = any(part[0] in ("dict", "list", "tuple") for part in inside)
    if not deep or graph.arguments != count_leaves((kind, *parts)):  # more arguments of `call`, or constants
        return None
    return unflatten((kind, *parts), range(graph.arguments))


def has_several_inputs(model: Any, graph: Traced) -> Any:
    """Whether the model was called with more than one tensor."""
    return vars(model)["_built_for"][0] != SIMPLE


def expects_several_inputs(model: Any) -> Any:
    """The same of a model that has only seen the form of its data."""
    return bool(vars(model).get("_expects_several"))


def expects_one_output(model: Any) -> Any:
    """Until a batch says it, a model that has seen its data has one output."""
    if "_expects_several" not in vars(model):
        raise AttributeError(f"{model.name}: no outputs yet; call the model once")
    return False


def is_nested(x: Any) -> bool:
    """Whether these are inputs in containers inside each other; a list of lists alone may be one of batches."""
    parts = list(x.values()) if isinstance(x, dict) else x if isinstance(x, (list, tuple)) else []
    deep = any(isinstance(part, CONTAINERS) for part in parts)
    alone = not isinstance(x, dict) and not any(isinstance(part, np.ndarray) for part in parts)
    return deep and not alone and holds_arrays(x)


def holds_arrays(x: Any) -> bool:
    """Whether everything in containers is an array."""
    return all(isinstance(part, (np.ndarray, Stored)) for part in nested.leaves(x))


class TracedModel(TracedCall):
    """What a model computes whose class defines ``call``."""

    def prepare(self, x: Any) -> Any:
        """Check and cast the input(s), and build the model for them."""
        x = self._in_form(x)
        given = Arguments(self.layer, (x,), {})
        arrays = [self.cast(part) for part in given.tensors]
        self.build_for(given.structure, [part.shape for part in arrays])
        self.graph_without_values(given.structure, arrays, False)
        return arrays[0] if given.structure == SIMPLE else nested.packed(x, arrays)

    def forward_with_mask(
        self, x: Any, *, mask: Any = None, lengths: Any = None, training: bool = False, keep: bool = False
    ) -> tuple[Any, Any, Any]:
        """Outputs, the time mask of the (first) output, and the pullback."""
        given = Arguments(self.layer, (self._in_form(x),), {})
        given.call = {"mask": mask, "lengths": lengths, "training": training}
        _, values, masks, pullback = self.eager(given, keep)
        return (values, masks, pullback) if len(values) > 1 else (values[0], masks[0], pullback)

    def _in_form(self, x: Any) -> Any:
        """Inputs that stand in one list, as data of a training do, in the form in which ``call`` takes them."""
        template = self.layer.input_template if "_built_for" in vars(self.layer) else None
        return x if template is None else nested.packed(template, nested.matched(f"{self.name}: inputs", template, x))

    def build(self, input_shape: Any) -> None:
        """Build for an input of this shape, the batch axis included, or a list of such shapes."""
        several = bool(input_shape) and isinstance(input_shape[0], (list, tuple))
        shapes = input_shape if several else [input_shape]
        sketches: list[Any] = [Sketch((None, *shape[1:]), self.dtype) for shape in shapes]
        structure = list_structure(self.layer, len(shapes)) if several else SIMPLE
        self.graph_without_values(structure, sketches, False)

    def build_again(self, built_for: Any) -> None:
        """Build for what a configuration says that the model was built for."""
        self.layer._built_for = frozen(built_for)
        self.main_graph()

    def note_form(self, x: Any) -> None:
        """See whether this is a list of inputs, or of batches, before the model is built for them."""
        if self.layer.built or isinstance(x, np.ndarray):
            return
        if is_nested(x):
            self.build_with(x)
        if self.layer.built or isinstance(x, dict):
            return
        own = vars(self.layer)
        own.setdefault("_expects_several", False)
        first = x[0] if hasattr(x, "__getitem__") and hasattr(x, "__len__") and len(x) else None
        if isinstance(first, tuple) and len(first) in (2, 3):
            self.build_with(inputs_of(self.layer, first[0]))
            return
        if not isinstance(x, (list, tuple)):
            return
        arrays = len(x) > 1 and all(isinstance(part, np.ndarray) for part in x)
        rows = {len(part) for part in x if np.ndim(part)} if arrays else set()
        own["_expects_several"] = arrays and (len(rows) == 1 or not is_ragged(x))

    def build_with(self, x: Any) -> None:
        """Build a model for data of this form: only then its outputs are known."""
        if self.layer.built:
            return
        if holds_arrays(x):
            parts = nested.leaves(x)
            self.prepare(nested.packed(x, [part[:1] for part in parts]))
