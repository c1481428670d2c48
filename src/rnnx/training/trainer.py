"""``compile``, ``fit``, ``evaluate`` and ``predict``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx import losses as loss_functions
from rnnx import metrics as figures
from rnnx import optimizers
from rnnx._changes import Changes
from rnnx._typing import Array
from rnnx.callbacks.callback import CallbackList, History
from rnnx.callbacks.progress import Progress
from rnnx.training.batches import (
    as_list,
    batches_of,
    class_weights,
    data_of_fit,
    for_each,
    in_order,
    one_batch,
    one_hot,
)
from rnnx.training.data import Batch, take
from rnnx.training.interrupts import Interrupts, interrupts_wait


class Trainer:
    """What a model needs to be trained; a mixin for `rnnx.models.Model`."""

    name: str
    weights: Any
    several_inputs: bool
    several_outputs: bool
    forward_with_mask: Callable[..., Any]
    reset_states: Callable[[], None]
    optimizer: Any = None
    loss: Any = None
    history: History | None = None
    _loss_parts: dict[str, float]  # of the outputs in the last batch, without their weights
    _loss_sums: dict[str, float]
    _loss_rows: int
    stop_training = False

    # ---- Setting up ------------------------------------------------------------------------------------------------

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
        metrics : list, or a list of lists or dict of them for several outputs
            ``"accuracy"`` is chosen from the shapes.
        loss_weights : list or dict of float, optional
        weighted_metrics : list, optional
            Metrics that look at ``sample_weight``; those of ``metrics`` do not.
        """
        unknown = set(ignored) - {"run_eagerly", "jit_compile", "steps_per_execution", "auto_scale_loss"}
        if unknown:
            raise TypeError(f"compile: unknown argument(s) {', '.join(sorted(unknown))}")
        chosen = optimizers.get(optimizer)
        losses = for_each(loss, loss_functions.get)
        self.optimizer, self.loss = chosen, losses
        self.loss_weights = loss_weights
        self._metric_choices, self._weighted_choices = metrics or [], weighted_metrics or []
        self._metrics: list[list[tuple[Any, bool]]] | None = None
        self._loss_parts, self._loss_sums, self._loss_rows = {}, {}, 0

    @property
    def metrics(self) -> list[Any]:
        """The metrics that were seen in action so far."""
        return [metric for group in getattr(self, "_metrics", None) or [] for metric, _ in group]

    @property
    def metrics_names(self) -> list[str]:
        """Names of the figures that `evaluate` returns, once some were computed."""
        self._check_compiled("asking for metrics_names")
        return list(self._figures(0.0))

    def _check_compiled(self, what: str) -> None:
        if self.optimizer is None or self.loss is None:
            raise RuntimeError(f"{self.name}: call compile(optimizer, loss) before {what}")

    def by_output(self, value: Any, count: int) -> list[Any]:
        """A value for each output, from one, a list or a dict by output name."""
        if isinstance(value, dict):
            names = [tensor.node.layer.name for tensor in self.outputs]  # type: ignore[attr-defined]
            if unknown := set(value) - set(names):
                raise ValueError(
                    f"{self.name}: unknown output(s) {', '.join(sorted(unknown))}; there are {', '.join(names)}"
                )
            return [value.get(name) for name in names]
        if not self.several_outputs:
            return [value]
        values = list(value) if isinstance(value, (list, tuple)) else [value] * count
        if len(values) != count:
            raise ValueError(f"{self.name}: {count} outputs need {count} entries, got {len(values)}")
        return values

    # ---- One step --------------------------------------------------------------------------------------------------

    def _losses(self, batch: Batch, y_pred: list[Any], masks: list[Any], keep: bool) -> tuple[float, list[Any]]:
        """The weighted sum of the losses, and the gradient of every output."""
        count = len(y_pred)
        targets, losses = self.by_output(batch.y, count), self.by_output(self.loss, count)
        weights = self.by_output(self.loss_weights, count) if self.loss_weights is not None else [1.0] * count
        sample_weights = self.by_output(batch.sample_weight, count)
        total = 0.0
        slopes: list[Any] = []
        self._loss_parts = {}
        for k, (target, loss, weight, p, mask, sample_weight) in enumerate(
            zip(targets, losses, weights, y_pred, masks, sample_weights, strict=True)
        ):
            weight = 1.0 if weight is None else weight
            if loss is None:
                slopes.append(None)
                continue
            if target is None:
                raise ValueError(f"{self.name}: targets `y` are needed for the loss {type(loss).__name__}")
            fits = mask if mask is not None and mask.ndim < p.ndim else None
            if keep:
                value, slope = loss.value_and_grad(target, p, sample_weight, fits)
                slopes.append(slope * np.asarray(weight, slope.dtype) if weight != 1 else slope)
            else:
                value = loss(target, p, sample_weight, fits)
            if np.ndim(value):
                raise ValueError(
                    f"{self.name}: a loss for training must be reduced to one number, not reduction='none'"
                )
            total += weight * value
            if self.several_outputs:
                self._loss_parts[f"{self.outputs[k].name}_loss"] = value  # type: ignore[attr-defined]
        return total, slopes

    def _forward(self, batch: Batch, training: bool, keep: bool) -> tuple[list[Any], list[Any], Any]:
        y, mask, pullback = self.forward_with_mask(batch.x, lengths=batch.lengths, training=training, keep=keep)
        return (y, mask, pullback) if self.several_outputs else ([y], [mask], pullback)

    def _train_step(self, batch: Batch) -> tuple[float, list[Any], list[Any]]:
        """Forward, backward, update; the loss before the update, the predictions and their masks."""
        with Changes():
            y_pred, masks, pullback = self._forward(batch, True, True)
            loss, slopes = self._losses(batch, y_pred, masks, True)
            loss += self.regularization_loss() + pullback.activity_loss  # type: ignore[attr-defined]
            grads = pullback(slopes if self.several_outputs else slopes[0], need_dx=False)
        dweights = self.add_regularization_gradients(grads.dweights)  # type: ignore[attr-defined]
        with interrupts_wait():
            self.optimizer.apply(self.weights, dweights)
        return loss, y_pred, masks

    def _update_metrics(self, batch: Batch, y_pred: list[Any], masks: list[Any]) -> None:
        targets = self.by_output(batch.y, len(y_pred))
        sample_weights = self.by_output(batch.sample_weight, len(y_pred))
        for name, value in self._loss_parts.items():
            self._loss_sums[name] = self._loss_sums.get(name, 0.0) + value * batch.size
        self._loss_rows += batch.size
        if self._metrics is None:
            self._metrics = self._make_metrics(targets, y_pred)
        for group, target, p, mask, weight in zip(self._metrics, targets, y_pred, masks, sample_weights, strict=True):
            for metric, weighted in group:
                metric.update_state(target, p, weight if weighted else None, mask)

    def _make_metrics(self, targets: list[Any], y_pred: list[Any]) -> list[list[tuple[Any, bool]]]:
        groups: list[list[tuple[Any, bool]]] = []
        losses = self.by_output(self.loss, len(y_pred))
        for k, (target, p, loss) in enumerate(zip(targets, y_pred, losses, strict=True)):
            group = []
            for choices, weighted in ((self._metric_choices, False), (self._weighted_choices, True)):
                several = self.several_outputs and isinstance(choices, (list, tuple, dict)) and len(choices) > 0
                own = self.by_output(choices, len(y_pred))[k] if several else choices
                for choice in own if isinstance(own, (list, tuple)) else [own] if own is not None else []:
                    name = choice if isinstance(choice, str) else None
                    if name in ("accuracy", "acc"):
                        metric = figures.choose_accuracy(loss, np.asarray(target), p, str(name))
                    else:
                        metric = figures.get(choice)
                        metric.name = name or metric.name
                    group.append((metric, weighted))
            groups.append(group)
        return groups

    def _figures(self, loss: float) -> dict[str, float]:
        found = {"loss": loss, **{name: total / max(1, self._loss_rows) for name, total in self._loss_sums.items()}}
        for k, group in enumerate(self._metrics or []):
            prefix = f"{self.outputs[k].name}_" if self.several_outputs else ""  # type: ignore[attr-defined]
            for metric, _ in group:
                found[prefix + metric.name] = metric.result()
        return found

    def _reset_metrics(self) -> None:
        self._loss_sums, self._loss_rows = {}, 0
        for metric in self.metrics:
            metric.reset_state()

    # ---- fit -------------------------------------------------------------------------------------------------------

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
        seed: int | None = None,
    ) -> History:
        """Train the model.

        Parameters
        ----------
        x : array, list or dict of arrays, ragged list, or iterable of batches
            A ragged list holds arrays of shape (timesteps, features), or (timesteps,) of ids: rows of similar length
            share a batch. An iterable, or an object with ``__len__`` and ``__getitem__``, gives ``(x, y)`` or
            ``(x, y, sample_weight)``.
        y : array, list or dict of arrays, or ragged list
        batch_size : int
            32 if not given.
        epochs, initial_epoch : int
        verbose : {"auto", 0, 1, 2}
        callbacks : list of Callback
        validation_split : float
            Share of the rows, at the end, to validate with.
        validation_data : tuple ``(x, y)`` or ``(x, y, sample_weight)``, or iterable of batches
        shuffle : bool
            A new order in each epoch; not done for stateful models and iterables.
        class_weight : dict of float by class, optional
        sample_weight : array, optional
        steps_per_epoch : int, optional
            Batches of an epoch; the next epoch goes on where this one ended.
        validation_steps : int, optional
            Batches to validate with, the same ones each time.
        validation_batch_size, validation_freq : int
        seed : int, optional
            The order of an epoch follows from this and its number alone: with the state of the optimizer and
            ``initial_epoch``, training goes on as if it had never stopped. Without it see `rnnx.utils.set_random_seed`.

        Returns
        -------
        History
            Ctrl-C stops after the batch at hand and returns it with ``interrupted`` set; weights and figures stay. The
            second Ctrl-C raises KeyboardInterrupt at once, without an update half made.

        Raises
        ------
        RuntimeError
            If the model was not compiled.
        ValueError
            If the data do not fit together; no weight has been changed then.
        """
        self._check_compiled("fit")
        for name, number in (("epochs", epochs), ("initial_epoch", initial_epoch)):
            if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 0:
                raise ValueError(f"fit: `{name}` must be an integer of at least 0, got {number!r}")
        if verbose not in ("auto", 0, 1, 2):
            raise ValueError(f'fit: `verbose` must be "auto", 0, 1 or 2, got {verbose!r}')
        if not isinstance(validation_freq, (int, np.integer)) or validation_freq < 1:
            raise ValueError(f"fit: `validation_freq` must be a positive integer, got {validation_freq!r}")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0):
            raise ValueError(f"fit: `seed` must be an integer of at least 0, got {seed!r}")
        if validation_batch_size is None:
            validation_batch_size = batch_size
        batches, validation = data_of_fit(
            self, x, y, sample_weight, class_weight, batch_size, shuffle, steps_per_epoch, seed,
            validation_split, validation_data, validation_batch_size, validation_steps,
        )  # fmt: skip
        self.history = history = History()
        params = {"epochs": epochs, "steps": len(batches), "verbose": verbose, "validation_freq": validation_freq}
        own: list[Any] = [history]
        if verbose:
            own.append(Progress(2 if verbose == 2 else 1))
        calls = CallbackList([*as_list(callbacks), *own], self, params)
        self.stop_training = False
        calls.call("train_begin", None)
        with Interrupts() as interrupts:
            try:
                for epoch in range(initial_epoch, epochs):
                    interrupts.check()
                    calls.call("epoch_begin", epoch, None)
                    self.reset_states()
                    logs = self._epoch(batches.epoch(epoch), calls, interrupts.check)
                    if validation is not None and (epoch + 1) % validation_freq == 0:
                        self.reset_states()
                        validation.restart()
                        found = self._evaluate(validation.epoch(), calls, interrupts.check)
                        logs.update({f"val_{name}": value for name, value in found.items()})
                    calls.call("epoch_end", epoch, logs)
                    if self.stop_training:
                        break
                interrupts.check()
            except KeyboardInterrupt:
                if interrupts.count > 1:
                    raise
                history.interrupted = True
                print("interrupted: weights and history are those of the last finished batch", flush=True)
            finally:
                calls.call("train_end", None)
        return history

    def _epoch(self, batches: Any, calls: CallbackList, check: Callable[[], None]) -> dict[str, float]:
        self._reset_metrics()
        total, rows, number = 0.0, 0, -1
        logs: dict[str, float] = {}
        for number, batch in enumerate(batches):
            calls.call("train_batch_begin", number, None)
            check()
            loss, y_pred, masks = self._train_step(batch)
            self._update_metrics(batch, y_pred, masks)
            total, rows = total + loss * batch.size, rows + batch.size
            logs = self._figures(total / max(1, rows))
            calls.call("train_batch_end", number, logs)
            check()
            if self.stop_training:
                break
        if number < 0:
            raise ValueError(
                "fit: the data gave no batch for this epoch; a generator must go on, or give a list or another "
                "iterable that can be read again"
            )
        return logs

    @property
    def is_stateful(self) -> bool:
        """Whether a layer carries its state from batch to batch."""
        return any(getattr(layer, "stateful", False) for layer in self.sublayers)  # type: ignore[attr-defined]

    def try_batch(self, batch: Batch) -> None:
        """Run a batch as for an evaluation, for the errors alone; stateful models are left out."""
        if not self.is_stateful:
            y_pred, masks, _ = self._forward(batch, False, False)
            self._losses(batch, y_pred, masks, False)

    # ---- evaluate, predict -----------------------------------------------------------------------------------------

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Loss and metrics on some data; arguments as for `fit`.

        Returns
        -------
        float, list of float, or dict
            The loss alone if there are no metrics.
        """
        self._check_compiled("evaluate")
        batches = batches_of(self, x, y, sample_weight, batch_size, False, steps, None)
        found = self._evaluate(batches.epoch(), CallbackList(callbacks, self, {}))
        if return_dict:
            return found
        return list(found.values()) if len(found) > 1 else found["loss"]

    def _evaluate(
        self, batches: Any, calls: CallbackList, check: Callable[[], None] = lambda: None
    ) -> dict[str, float]:
        calls.call("test_begin", None)
        self._reset_metrics()
        total, rows = 0.0, 0
        for number, batch in enumerate(batches):
            calls.call("test_batch_begin", number, None)
            y_pred, masks, pullback = self._forward(batch, False, False)
            loss, _ = self._losses(batch, y_pred, masks, False)
            total += (loss + pullback.activity_loss) * batch.size
            rows += batch.size
            self._update_metrics(batch, y_pred, masks)
            calls.call("test_batch_end", number, self._figures(total / max(1, rows)))
            check()
        if not rows:
            raise ValueError("evaluate: there is no data")
        penalty = self.regularization_loss()  # type: ignore[attr-defined]
        found = self._figures(total / rows + penalty)
        calls.call("test_end", found)
        return found

    def predict(
        self, x: Any, batch_size: int | None = None, verbose: Any = 0, steps: int | None = None, callbacks: Any = None
    ) -> Any:
        """Outputs for some data, in its order; arguments as for `fit`.

        Returns
        -------
        array, or list of arrays for several outputs
            For a ragged list with an output for each step: a list with an array for each row.
        """
        small = 32 if batch_size is None else batch_size
        if isinstance(x, np.ndarray) and x.ndim and 0 < len(x) <= small and not (self.several_inputs or callbacks):
            return self.forward_with_mask(x)[0]
        batches = batches_of(self, x, None, None, batch_size, False, steps, None)
        calls = CallbackList(callbacks, self, {})
        calls.call("predict_begin", None)
        parts: list[list[Any]] = []
        lengths: list[list[Any]] = []
        rows: list[Any] = []
        for number, batch in enumerate(batches.epoch()):
            calls.call("predict_batch_begin", number, None)
            y, masks, _ = self._forward(batch, False, False)
            calls.call("predict_batch_end", number, None)
            for k, (value, mask) in enumerate(zip(y, masks, strict=True)):
                if len(parts) <= k:
                    parts, lengths = [*parts, []], [*lengths, []]
                parts[k].append(value)
                steps_each = batch.lengths is not None and mask is not None and mask.shape == value.shape[:2]
                lengths[k].append(batch.lengths if steps_each else None)
            rows.append(np.arange(batch.size) + sum(len(r) for r in rows) if batch.rows is None else batch.rows)
        calls.call("predict_end", None)
        if not parts:
            y = self.forward_with_mask(take(x, slice(0, 0)))[0]
            return y
        order = np.argsort(np.concatenate(rows), kind="stable")
        joined = [in_order(part, steps, order) for part, steps in zip(parts, lengths, strict=True)]
        return joined if self.several_outputs else joined[0]

    def predict_mc(
        self, x: Any, samples: int = 50, share_masks: bool = False, batch_size: int | None = None
    ) -> tuple[Array, Array]:
        """Monte Carlo dropout: mean and standard deviation of the output with dropout on.

        Parameters
        ----------
        x : array or ragged list
        samples : int
            Passes.
        share_masks : bool
            Every row and batch sees the same masks in a pass, so that outputs can be compared with each other.
        batch_size : int, optional

        Returns
        -------
        mean, deviation : arrays of the shape of the output
            For a ragged list with an output for each step: lists with an array for each row.

        References
        ----------
        .. [1] Y. Gal, Z. Ghahramani, "Dropout as a Bayesian approximation", ICML 2016.
        """
        from rnnx.training.monte_carlo import sample

        return sample(self, x, samples, share_masks, batch_size)

    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """One step on one batch; the loss and metrics before the update."""
        self._check_compiled("train_on_batch")
        if class_weight is not None:
            sample_weight = class_weights(y, class_weight, sample_weight, one_hot(self))
        batch = one_batch(x, y, sample_weight, self.several_inputs)
        self._reset_metrics()
        loss, y_pred, masks = self._train_step(batch)
        self._update_metrics(batch, y_pred, masks)
        found = self._figures(loss)
        if return_dict:
            return found
        return list(found.values()) if len(found) > 1 else found["loss"]

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """Loss and metrics of one batch."""
        return self.evaluate([one_batch(x, y, sample_weight, self.several_inputs)], return_dict=return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """Outputs of one batch."""
        batch = one_batch(x, None, None, self.several_inputs)
        return self.forward_with_mask(batch.x, lengths=batch.lengths)[0]
