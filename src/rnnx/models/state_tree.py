"""The weights of a model, the state of its optimizer and its metrics, as dicts inside each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from rnnx.layers.paths import weight_paths
from rnnx.layers.weight import changing
from rnnx.optimizers.slots import KERAS_NAMES

FORMATS = ("backend_tensor", "numpy_array")
KINDS = ("trainable_variables", "non_trainable_variables", "optimizer_variables", "metrics_variables")


class StateTree:
    """A base of `rnnx.models.Model`."""

    name: str
    optimizer: Any
    metrics: Any

    def get_state_tree(self, value_format: str = "backend_tensor") -> dict[str, Any]:
        """Copies of everything that training changes, in dicts by the names of layers and weights.

        Parameters
        ----------
        value_format : {"backend_tensor", "numpy_array"}
            Arrays either way.

        Returns
        -------
        dict
            Of ``"trainable_variables"``, ``"non_trainable_variables"``, ``"optimizer_variables"`` and
            ``"metrics_variables"``, each a dict of dicts of arrays; `set_state_tree` takes them.

        Raises
        ------
        ValueError
            If two weights have one path, as of layers of one name.

        Examples
        --------
        >>> import rnnx
        >>> model = rnnx.Sequential([rnnx.Input((3,)), rnnx.layers.Dense(2, name="last")])
        >>> model.get_state_tree()["trainable_variables"][model.name]["last"]["bias"]
        array([0., 0.], dtype=float32)
        """
        if value_format not in FORMATS:
            raise ValueError(f"get_state_tree: `value_format` must be one of {FORMATS}, got {value_format!r}")
        return {kind: _tree(variables) for kind, variables in _variables(self).items()}

    def set_state_tree(self, state_tree: dict[str, Any]) -> None:
        """Assign what `get_state_tree` has given, or a part of it; all is checked before the first is changed.

        Parameters
        ----------
        state_tree : dict

        Raises
        ------
        ValueError
            If it names what is not there, or a shape differs.
        """
        known = _variables(self)
        found: list[tuple[Any, Any]] = []
        for kind, tree in state_tree.items():
            if kind not in known:
                raise ValueError(f"set_state_tree: unknown name {kind!r}; there are {', '.join(KINDS)}")
            own = dict(known[kind])
            for path, value in _flat(tree):
                if path not in own:
                    raise ValueError(f"set_state_tree: there is no {path!r} among the {kind} of {self.name}")
                array = np.asarray(value)
                if array.shape != own[path].shape or array.dtype.kind not in "fiub":
                    raise ValueError(
                        f"set_state_tree: {path!r} must be real numbers of shape {own[path].shape}, "
                        f"got {array.dtype} {array.shape}"
                    )
                found.append((own[path], array))
        with changing([weight for _, weight in weight_paths(self)]):
            for variable, array in found:
                variable.assign(array)


def _variables(model: Any) -> dict[str, list[tuple[str, Any]]]:
    """All that has a value, by kind, with its path."""
    trained = {id(weight) for weight in model.trainable_weights}
    paths = weight_paths(model, f"/{model.name}" if "_chain" in vars(model) else "")  # as Keras has them
    found: dict[str, list[tuple[str, Any]]] = {
        "trainable_variables": [(path, weight) for path, weight in paths if id(weight) in trained],
        "non_trainable_variables": [(path, weight) for path, weight in paths if id(weight) not in trained],
        "optimizer_variables": [],
        "metrics_variables": [
            (f"{metric.name}/{variable.name}", variable) for metric in model.metrics for variable in metric.variables
        ],
    }
    optimizer = model.optimizer
    if optimizer is not None:
        named = {id(weight): path.replace("/", "_") for path, weight in paths}
        order = [named[id(weight)] for weight in model.weights]
        slots = getattr(optimizer, "inner_optimizer", optimizer)
        for variable in optimizer.variables:
            place, _, name = variable.name.partition("_")
            own = f"{order[int(place)]}_{KERAS_NAMES.get(name, name)}" if place.isdigit() else variable.name
            found["optimizer_variables"].append((f"{optimizer.name}/{own}", variable))
        if slots._mapped:  # views of a file, which are copied before they change
            slots._ready_slots(model.weights)
            return _variables(model)
    return found


def _tree(variables: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for path, variable in variables:
        *groups, name = path.split("/")
        place = root
        for group in groups:
            place = place.setdefault(group, {})
        if name in place:
            raise ValueError(
                f"The following variable path is found twice in the model: {path!r}; give layers and metrics names of "
                "their own"
            )
        place[name] = variable.numpy()
    return root


def _flat(tree: Any, root: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{root}{name}/")
        else:
            yield f"{root}{name}", value
