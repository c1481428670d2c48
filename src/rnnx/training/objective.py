"""What a model is trained for: the losses and metrics of its outputs."""

from __future__ import annotations

import copy
import inspect
import itertools
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from rnnx import losses as loss_functions
from rnnx import metrics as metric_functions
from rnnx import optimizers
from rnnx._nested import CONTAINERS, is_config, leaves
from rnnx._typing import Array
from rnnx.layers.layer import walk
from rnnx.losses.joint_loss import JointLoss
from rnnx.training.logs import LogsInUse, RunningLogs
from rnnx.training.nested_losses import Part, is_nested, parts_of


class Output(NamedTuple):
    """What a batch has for one output of the model."""

    prediction: Array
    mask: Array | None
    target: Any
    sample_weight: Any


class Objective:
    """What ``compile`` says, and what it makes of the outputs of a batch; a base of `Trainer`."""

    name: str
    built: Any
    outputs: Any
    several_outputs: Any
    output_template: Any
    optimizer: Any = None
    loss: Any = None
    _loss_sums: dict[str, float]  # of each output, without their weights
    _loss_rows: int
    _handed_out: LogsInUse
    _loss_tracker: Any = None  # the mean of the losses so far as a metric, once somebody has asked for it
    _mean_loss: float = 0.0
    _more_losses: tuple[Part, ...] = ()  # beside one of each output: those of several, and a second one of an output
    _loss_names: tuple[str, ...] | None = None  # of the losses in the logs, where they are not those of the outputs

    @property
    def output_names(self) -> list[str]:
        """The names of the outputs in losses, logs, and dicts of targets."""
        raise NotImplementedError

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        metrics: Any = None,
        loss_weights: Any = None,
        weighted_metrics: Any = None,
        **ignored: Any,
    ) -> None:
        """Say how the model is trained.

        Parameters
        ----------
        optimizer : str or Optimizer
        loss : str or Loss, or a list or dict of them for several outputs
            Lists, tuples and dicts may be inside each other, as the outputs are. A function, or a Loss with ``call``,
            that stands for a container of outputs gets targets and predictions in such a one; a list inside the others
            in the place of one output, or of a container of another kind, is a sum: ``[together, (one, other)]``.
        metrics : list, or a list of lists or dict of them for several outputs
            ``"accuracy"`` is chosen from the shapes.
        loss_weights : list or dict of float, optional
        weighted_metrics : list, optional
            Metrics that look at ``sample_weight``; those of ``metrics`` do not. One that is in ``metrics`` too comes as
            ``weighted_<name>`` in the logs.
        """
        unknown = set(ignored) - {"run_eagerly", "jit_compile", "steps_per_execution", "auto_scale_loss"}
        if unknown:
            raise TypeError(f"compile: unknown argument(s) {', '.join(sorted(unknown))}")
        chosen = optimizers.get(optimizer)
        more: tuple[Part, ...] = ()
        names: tuple[str, ...] | None = None
        if isinstance(loss, CONTAINERS):
            losses, loss_weights, more, names = self._losses_of(loss, loss_weights)
        else:
            losses = loss_functions.loss_of(loss)
        before = vars(self).copy()
        self.loss, self.loss_weights = losses, loss_weights
        self._more_losses, self._loss_names = more, names
        self._metric_choices, self._weighted_choices = metrics or [], weighted_metrics or []
        self._metrics: list[list[tuple[Any, bool]]] | None = None
        self._loss_sums, self._loss_rows = {}, 0
        self._handed_out = LogsInUse()
        self._loss_tracker, self._mean_loss = None, 0.0
        try:
            self._check_choices()
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise
        self.optimizer = chosen

    def _losses_of(self, loss: Any, loss_weights: Any) -> tuple[Any, Any, tuple[Part, ...], tuple[str, ...] | None]:
        """The loss of each output and its weight, what there is beside them, and their names in the logs."""
        known = bool(self.built) and hasattr(self, "several_outputs")
        template, names = (self._output_form(), self.output_names) if known else (0, [])
        if not is_nested(loss, template, names):
            return _for_each(loss, loss_functions.loss_of), loss_weights, (), None
        if not known:
            raise ValueError(
                f"{self.name}: losses inside each other need the outputs; call the model once before compile"
            )
        count = len(self.outputs) if self.several_outputs else 1
        losses: list[Any] = [None] * count
        weights: list[Any] = [None] * count
        own, more = list(names), []
        for part in parts_of(self.name, template, names, loss, loss_weights):
            if isinstance(part.template, CONTAINERS):
                more.append(part._replace(loss=JointLoss(part.loss, part.template, part.name)))
            elif losses[part.template] is None:
                losses[part.template], weights[part.template], own[part.template] = part.loss, part.weight, part.name
            else:
                more.append(part)
        taken = set(own)
        for place, part in enumerate(more):
            free = (f"{part.name}_{number}" for number in itertools.count(1))
            name = part.name if part.name not in taken else next(name for name in free if name not in taken)
            taken.add(name)
            more[place] = part._replace(name=name)
        return losses, weights, tuple(more), (*own, *(part.name for part in more))

    def _output_form(self) -> Any:
        """The outputs in the form that the model returns them in, with their places."""
        if self.output_template is not None:
            return self.output_template
        return list(range(len(self.outputs))) if self.several_outputs else 0

    def compile_like(self, model: Any) -> None:
        """Say that the model is trained as another one is, with an optimizer and metrics of its own.

        Parameters
        ----------
        model : Model
            Compiled.
        """
        choices: Any = copy.deepcopy([model._metric_choices, model._weighted_choices])
        for metric in leaves(choices):
            if isinstance(metric, metric_functions.Metric):
                metric.reset_state()
        optimizer, weights = model.optimizer.before_first_step(), copy.copy(model.loss_weights)
        self.compile(optimizer, model.loss, choices[0], weights, choices[1])

    def _check_choices(self) -> None:
        """Make the metrics, and see that every output has what it needs, as far as the outputs are known."""
        if not hasattr(self, "several_outputs"):
            for choices in (self._metric_choices, self._weighted_choices):
                for choice in _chosen(choices):
                    metric_of(choice)
            return
        count = len(self.outputs) if self.several_outputs else 1
        self.by_output(self.loss, count, "loss")
        for weight in self.by_output(self.loss_weights, count, "loss_weights"):
            if weight is not None and (isinstance(weight, bool) or not isinstance(weight, (int, float, np.number))):
                raise TypeError(f"compile: `loss_weights` must be numbers, got {weight!r}")
        self._metrics = self._make_metrics(count)

    @property
    def metrics(self) -> list[Any]:
        """The mean of the loss, and the metrics, those of all outputs in one list."""
        if self._loss_tracker is None and self.compiled:
            self._loss_tracker = metric_functions.Mean(name="loss")
            self._track_loss()
        tracker = [] if self._loss_tracker is None else [self._loss_tracker]
        return tracker + self._own_metrics()

    def _track_loss(self) -> None:
        if (tracker := self._loss_tracker) is not None:
            tracker.total, tracker.count = self._mean_loss * self._loss_rows, float(self._loss_rows)

    def _own_metrics(self) -> list[Any]:
        return [metric for group in getattr(self, "_metrics", None) or [] for metric, _ in group]

    @property
    def metrics_names(self) -> list[str]:
        """Names of the numbers that `evaluate` returns."""
        self._check_compiled("asking for metrics_names")
        return list(self.directions())

    def directions(self) -> dict[str, str | None]:
        """What is logged in training, by its name: whether "up" or "down" is better, None where nobody says."""
        if self._metrics is None:
            self._check_choices()
        found: dict[str, str | None] = {"loss": "down"}
        if self.several_outputs or self._more_losses:
            losses = [*self.by_output(self.loss, len(self.output_names), "loss"), *self._more_losses]
            names = self._loss_names or self.output_names
            found.update({f"{name}_loss": "down" for name, loss in zip(names, losses, strict=True) if loss})
        for name, metric in self._named_metrics().items():
            found[name] = getattr(metric, "direction", None) or getattr(metric, "_direction", None)
        return found

    @property
    def compiled(self) -> bool:
        """Whether `compile` has been called."""
        return self.optimizer is not None

    def _check_compiled(self, what: str) -> None:
        if self.optimizer is None or (self.loss is None and not self._may_add_losses()):
            raise RuntimeError(f"{self.name}: call compile(optimizer, loss) before {what}")

    def _may_add_losses(self) -> bool:
        """Whether something inside may add to the loss, so that the model can be trained without one of its own."""
        model: Any = self
        return any(layer.overrides_call or layer.activity_regularizer is not None for layer in walk(model))

    def _refuse_without_loss(self) -> None:
        raise RuntimeError(
            f"{self.name}: there is no loss; call compile(optimizer, loss), or self.add_loss(...) in a `call`"
        )

    def by_output(self, value: Any, count: int, what: str = "data") -> list[Any]:
        """A value for each output, from one, a list or a dict by output name; ``what`` is for error messages."""
        if isinstance(value, dict):
            names = self.output_names if self.built else list(value)[:1]
            if unknown := set(value) - set(names):
                raise ValueError(
                    f"{self.name}: unknown output(s) {', '.join(map(repr, sorted(unknown, key=str)))} in {what}; "
                    f"there are {', '.join(names)}"
                )
            return [value.get(name) for name in names]
        if what != "data" and isinstance(value, (list, tuple)) and len(value) != count:
            raise ValueError(f"{self.name}: `{what}` has {len(value)} entries for {count} output(s)")
        if not self.several_outputs:
            return [value[0] if what != "data" and isinstance(value, (list, tuple)) else value]
        values = list(value) if isinstance(value, (list, tuple)) else [value] * count
        if len(values) != count:
            raise ValueError(f"{self.name}: {count} outputs need {count} entries, got {len(values)}")
        return values

    # ---- Of a batch -------------------------------------------------------------------------------------------------

    def _losses(self, outputs: list[Output], keep: bool, share: Any = None) -> tuple[float, list[Any], list[Any]]:
        """The weighted sum of the losses, the loss of every output, and with ``keep`` the gradient of every output.

        With the ``share`` of a process in a batch they are those of the whole batch, the gradients those of its rows.
        """
        count = len(outputs)
        losses = self.by_output(self.loss, count, "loss")
        weights = self.by_output(self.loss_weights, count, "loss_weights")
        total = 0.0
        values: list[Any] = [None] * count
        slopes: list[Any] = [None] * count
        masses: list[float | None] = [None] * count
        for k, (output, loss, weight) in enumerate(zip(outputs, losses, weights, strict=True)):
            weight = 1.0 if weight is None else weight
            if loss is None:
                continue
            p, mask, target, sample_weight = output
            if target is None:
                raise ValueError(f"{self.name}: targets `y` are needed for the loss {type(loss).__name__}")
            fits = mask if mask is not None and mask.ndim < p.ndim else None
            if keep or share is not None:
                value, slope, masses[k] = loss.weighed(target, p, sample_weight, fits)
                slopes[k] = slope * np.asarray(weight, slope.dtype) if weight != 1 else slope
            else:
                value = loss(target, p, sample_weight, fits)
            if np.ndim(value):
                raise ValueError(
                    f"{self.name}: a loss for training must be reduced to one number, not reduction='none'"
                )
            total += weight * value
            values[k] = value
        for part in self._more_losses:
            value = self._add_loss(part, outputs, slopes if keep else None)
            total += part.weight * value
            values.append(value)
        if share is not None:
            if self._more_losses:
                raise ValueError(f"{self.name}: data_parallel takes one loss for each output, not {self._loss_names}")
            share.join_losses(self, losses, values, masses, slopes)
            total = sum(
                (1.0 if weight is None else weight) * value
                for weight, value in zip(weights, values, strict=True)
                if value is not None
            )
        if keep and self.loss is None:  # only what layers add is trained for
            slopes = [np.zeros_like(output.prediction) for output in outputs]
        return total, values, slopes

    def _add_loss(self, part: Part, outputs: list[Output], slopes: list[Any] | None) -> Any:
        """The value of a loss beside one of each output; its gradients are added to ``slopes``."""
        chosen = [outputs[place] for place in leaves(part.template)]
        if any(one.target is None for one in chosen):
            raise ValueError(f"{self.name}: targets `y` are needed for the loss {part.name!r}")
        weights = chosen[0].sample_weight
        if any(one.sample_weight is not weights for one in chosen):
            raise ValueError(
                f"{self.name}: the loss {part.name!r} of several outputs takes one `sample_weight` for all"
            )
        if isinstance(part.loss, JointLoss):
            value, found = part.loss.weighed(
                [one.target for one in chosen], [one.prediction for one in chosen], weights
            )
        else:
            p, mask, target, _ = chosen[0]
            fits = mask if mask is not None and mask.ndim < p.ndim else None
            value, slope, _ = part.loss.weighed(target, p, weights, fits)
            found = [slope]
        if slopes is None:
            return value
        for place, slope in zip(leaves(part.template), found, strict=True):
            slope = slope * np.asarray(part.weight, slope.dtype)
            slopes[place] = slope if slopes[place] is None else slopes[place] + slope
        return value

    def _update_metrics(self, outputs: list[Output], values: list[Any], rows: int) -> None:
        self._settle()
        if self.several_outputs or self._more_losses:
            for output, value in zip(self._loss_names or self.output_names, values, strict=True):
                if value is not None:
                    name = f"{output}_loss"
                    self._loss_sums[name] = self._loss_sums.get(name, 0.0) + value * rows
        self._loss_rows += rows
        groups = self.metric_groups(len(outputs))
        losses = self.by_output(self.loss, len(outputs), "loss")
        for group, loss, (p, mask, target, sample_weight) in zip(groups, losses, outputs, strict=True):
            fits = mask if mask is not None and mask.ndim < p.ndim else None
            for k, (metric, weighted) in enumerate(group):
                if isinstance(metric, AccuracyToChoose):
                    metric = metric_functions.choose_accuracy(loss, np.asarray(target), p, metric.name)
                    group[k] = metric, weighted
                weight = sample_weight if weighted else None
                if fits is None:
                    metric.update_state(target, p, weight)
                elif _takes_mask(metric):
                    metric.update_state(target, p, weight, mask=fits)
                else:
                    metric.update_state(target, p, _with_mask(weight, fits))

    def metric_groups(self, count: int) -> list[Any]:
        """The metrics of each of so many outputs."""
        if self._metrics is None:
            self._metrics = self._make_metrics(count)
        return self._metrics

    def _try_metrics(self, outputs: list[Output], values: list[Any], rows: int) -> None:
        """Let copies of the metrics look at a batch, for the errors alone."""
        state = self._metrics, self._loss_sums, self._loss_rows
        try:
            self._metrics, self._loss_sums = copy.deepcopy((self._metrics, self._loss_sums))
        except Exception:
            return  # a metric of one's own that cannot be copied; it sees the batches when they come
        try:
            self._update_metrics(outputs, values, rows)
        finally:
            self._metrics, self._loss_sums, self._loss_rows = state

    def _make_metrics(self, count: int) -> list[list[tuple[Any, bool]]]:
        groups: list[list[tuple[Any, bool]]] = [[] for _ in range(count)]
        for choices, what, weighted in (
            (self._metric_choices, "metrics", False),
            (self._weighted_choices, "weighted_metrics", True),
        ):
            by_output = bool(choices) and (isinstance(choices, dict) or (self.several_outputs and _is_list(choices)))
            own = self.by_output(choices, count, what) if by_output else [choices] * count
            for group, chosen in zip(groups, own, strict=True):
                group += [(metric_of(choice), weighted) for choice in _chosen(chosen)]
        return groups

    def _logs(self, loss: float) -> RunningLogs:
        """The loss, those of the outputs, and the metrics, of all batches so far."""
        found = {"loss": loss}
        self._mean_loss = loss
        if self._loss_tracker is not None:
            self._track_loss()
        for name, total in self._loss_sums.items():
            found[name] = total / max(1, self._loss_rows)
        logs = RunningLogs(found, self._named_metrics())
        self._handed_out.logs = logs
        return logs

    def _settle(self) -> None:
        """Let logs that somebody keeps be read before the metrics go on."""
        if (logs := self._handed_out.logs) is not None:
            logs.settle()

    def _named_metrics(self) -> dict[str, Any]:
        """The metrics by their names in the logs; one that is there twice gets Keras' addition to its name."""
        found: dict[str, Any] = {}
        names = self.output_names if self.several_outputs else []
        for weighted in (False, True):
            for k, group in enumerate(self._metrics or []):
                prefix = f"{names[k]}_" if names else ""
                for metric in [metric for metric, own in group if own is weighted]:
                    name = prefix + metric.name
                    if weighted and name in found:
                        name = f"{prefix}weighted_{metric.name}"
                    copies = (f"{name}_{number}" for number in itertools.count(1))
                    found[name if name not in found else next(n for n in copies if n not in found)] = metric
        return found

    def _reset_metrics(self) -> None:
        self._settle()
        self._loss_sums, self._loss_rows, self._mean_loss = {}, 0, 0.0
        if self._loss_tracker is not None:
            self._track_loss()
        for metric in self._own_metrics():
            metric.reset_state()


def _for_each(value: Any, make: Callable[[Any], Any]) -> Any:
    if isinstance(value, (list, tuple)):
        return [make(_alone(v)) for v in value]
    if isinstance(value, dict) and "class_name" not in value:
        return {k: make(_alone(v)) for k, v in value.items()}
    return make(value)


def _alone(value: Any) -> Any:
    """What is in a list of one, however deep."""
    while isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    return value


class AccuracyToChoose:
    """The word "accuracy" until the shapes of a batch say which one it is."""

    direction = "up"

    def __init__(self, name: str):
        self.name = name

    def reset_state(self) -> None:
        """Nothing was counted."""

    def result(self) -> float:
        return 0.0


def metric_of(choice: Any) -> Any:
    """The metric of a name or an object; a name stays the metric's name in the logs."""
    if isinstance(choice, str) and choice in ("accuracy", "acc"):
        return AccuracyToChoose(choice)
    metric = metric_functions.get(choice)
    if not hasattr(metric, "update_state"):
        raise TypeError(f"compile: a metric must have `update_state` and `result`, got {choice!r}")
    if isinstance(choice, str):
        metric.name = choice
    return metric


def _takes_mask(metric: Any) -> bool:
    update = metric.update_state
    return _has_mask(getattr(update, "__func__", update))


@lru_cache(maxsize=256)
def _has_mask(function: Callable[..., Any]) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(p.name == "mask" or p.kind is p.VAR_KEYWORD for p in parameters)


def _with_mask(weight: Any, mask: Array) -> Array:
    """Weights for a metric that knows no masks: what is masked weighs nothing."""
    if weight is None:
        return mask.astype(np.float32)
    weight = np.asarray(weight)
    return weight.reshape(weight.shape + (1,) * (mask.ndim - weight.ndim)) * mask


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _chosen(choices: Any) -> list[Any]:
    """All metrics in lists and dicts inside each other."""
    return [leaf for leaf in leaves(choices, is_config) if leaf is not None]
