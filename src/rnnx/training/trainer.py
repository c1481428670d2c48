"""``compile``, ``fit``, ``evaluate`` and ``predict``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from rnnx._changes import Changes
from rnnx.callbacks.callback import History
from rnnx.callbacks.callback_list import CallbackList
from rnnx.callbacks.progress import Progress
from rnnx.layers.layer import walk
from rnnx.layers.old_words import takes_old_words
from rnnx.layers.paths import weight_paths
from rnnx.layers.trained import TrainedWeights
from rnnx.training.batches import Batch, Batches, batches_of, one_batch
from rnnx.training.fit_data import check_class_weight, data_of_fit, weights_by_class
from rnnx.training.group import ALONE, StoppedTogether, group_of_now, together
from rnnx.training.interrupts import Interrupts, interrupts_wait
from rnnx.training.objective import Objective, Output
from rnnx.training.old_methods import OldMethods
from rnnx.training.predicting import Predicting


class Trainer(Predicting, OldMethods, Objective):
    """What a model needs to be trained; a base of `rnnx.models.Model`."""

    built: Any
    inputs: Any
    several_inputs: Any
    history: History | None = None
    stop_training = False
    first_epoch = 0  # of the training at hand

    def note_form(self, x: Any) -> None:
        """Look at data before the model is built for them."""

    def build_with(self, x: Any) -> None:
        """Build a model for data of this form, if only then its outputs are known."""

    # ---- What a model says -----------------------------------------------------------------------------------------

    def prepare(self, x: Any) -> Any:
        """Check and cast the input(s), and build the model for them."""
        raise NotImplementedError

    def trained_weights(self) -> TrainedWeights:
        """The weights, and which of them are trained, as things stand."""
        raise NotImplementedError

    def regularization_loss(self) -> float:
        """Sum of the penalties of the regularizers of all weights that are trained."""
        raise NotImplementedError

    def reset_states(self) -> None:
        """Forget the states of all stateful layers."""
        raise NotImplementedError

    @property
    def input_axes(self) -> int | None:
        """Axes of the (first) input, the batch axis included; None while nobody knows."""
        raise NotImplementedError

    @property
    def is_stateful(self) -> bool:
        """Whether a layer carries its state from batch to batch."""
        raise NotImplementedError

    # ---- One step --------------------------------------------------------------------------------------------------

    def _forward(
        self, batch: Batch, training: bool, share: Any = None
    ) -> tuple[list[Output], Any, tuple[float, list[Any], list[Any]]]:
        """What there is for each output, the pullback, and the losses; in training with gradients.

        With the ``share`` of a process in the batch, the losses are those of the whole batch.
        """
        if share is not None:
            batch = share.batch
        y, mask, pullback = self.forward_with_mask(batch.x, lengths=batch.lengths, training=training, keep=training)
        outputs = self._outputs(y, mask, batch)
        if self.loss is None and not pullback.adds_loss:
            self._refuse_without_loss()
        if share is not None:
            share.join_penalties(pullback)
        return outputs, pullback, self._losses(outputs, training, share)

    def _outputs(self, y: Any, mask: Any, batch: Batch) -> list[Output]:
        """Predictions and masks with the targets and weights of a batch."""
        if not (self.several_outputs or isinstance(batch.y, dict) or isinstance(batch.sample_weight, dict)):
            return [Output(y, mask, batch.y, batch.sample_weight)]
        ys, masks = (y, mask) if self.several_outputs else ([y], [mask])
        targets, weights = (self.by_output(part, len(ys)) for part in (batch.y, batch.sample_weight))
        return [Output(*parts) for parts in zip(ys, masks, targets, weights, strict=True)]

    def _train_step(self, batch: Batch, trained: TrainedWeights, stops: bool = False) -> float:
        """Forward, backward, update; the loss before the update, and the metrics with this batch.

        Of several processes one that ``stops`` ends the training of all of them here.

        The metrics come before the update: one that cannot look at the batch raises while nothing has changed.
        """
        group = group_of_now.get()
        with Changes() as changes, ALONE if group is None else group.share(self, batch, True, stops) as share:
            outputs, pullback, (loss, values, slopes) = self._forward(batch, True, share)
            loss += trained.penalty() + (pullback.activity_loss if share is None else share.penalty)
            grads = pullback(slopes if self.several_outputs else slopes[0], need_dx=False, trained=trained)
            dweights = grads.dweights
            if share is not None:
                outputs, dweights = share.join_outputs(self, outputs), share.total(dweights)
            dweights = trained.with_penalties(dweights)
            self._update_metrics(outputs, values, batch.size)
            with interrupts_wait():
                if (factor := self.optimizer.loss_scale_factor) is not None:
                    dweights = [None if g is None else g * np.asarray(factor, g.dtype) for g in dweights]
                if any(g is not None for g in dweights):
                    self.optimizer.apply(dweights, trained.weights)
                changes.make()
        return loss

    def _refuse_pair(self, who: str, x: Any, y: Any) -> None:
        """Refuse inputs and targets in one tuple or list, where the model takes one input and targets are missing."""
        if y is not None or self.loss is None or not isinstance(x, (tuple, list)) or len(x) not in (2, 3):
            return
        arrays = all(isinstance(part, np.ndarray) and part.ndim and len(part) == len(x[0]) for part in x)
        if arrays and (isinstance(x, tuple) or x[0].ndim != x[1].ndim) and not self.several_inputs:
            names = "(x, y)" if len(x) == 2 else "(x, y, sample_weight)"
            raise ValueError(
                f"{who}: `x` holds {len(x)} arrays and `y` is missing, but {self.name} has one input; write "
                f"{who}{names} for what is now {who}({names})"
            )

    # ---- fit -------------------------------------------------------------------------------------------------------

    @takes_old_words
    @together
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
        shuffle: bool | str = True,
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
            An array of h5py, zarr, netCDF or Dask is read in pieces, chunk by chunk, and never as a whole. A column or
            table of Arrow (of pyarrow, Polars or DuckDB) counts as array where its rows have a fixed size, and as
            ragged list where they are lists.
            A ragged list holds arrays of shape (timesteps, features), or (timesteps,) of ids: rows of similar length
            share a batch. An iterable, or an object with ``__len__`` and ``__getitem__``, gives ``(x, y)`` or
            ``(x, y, sample_weight)``.
        y : array, list or dict of arrays, or ragged list
        batch_size : int
            32 if not given.
        epochs, initial_epoch : int
        verbose : {"auto", 0, 1, 2}
        callbacks : list of Callback
            When one changes ``trainable``, that counts from the next epoch on; before the first batch, at once.
        validation_split : float
            Share of the rows, at the end, to validate with. A stateful model carries its states from batch to batch and
            from epoch to epoch, until ``reset_states()``; a validation starts from zeros and leaves them as they were.
        validation_data : tuple ``(x, y)`` or ``(x, y, sample_weight)``, or iterable of batches
        shuffle : bool or "batch"
            A new order in each epoch; not done for stateful models and iterables. With "batch" rows that follow each
            other stay in one batch, which reads files in pieces; see `rnnx.data.Batches`.
        class_weight : dict of float by class, optional
            Targets are one-hot where they have the axes of the output. For several outputs a dict of such dicts by
            output, or a list of them.
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
        self.note_form(x)
        self._refuse_pair("fit", x, y)
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
            self,
            x,
            y,
            sample_weight,
            class_weight=class_weight,
            batch_size=batch_size,
            shuffle=shuffle,
            steps=steps_per_epoch,
            seed=seed,
            validation_split=validation_split,
            validation_data=validation_data,
            validation_batch_size=validation_batch_size,
            validation_steps=validation_steps,
        )
        by_batch = None if isinstance(batches, Batches) else class_weight  # rows have their weights already
        self.history = history = History()
        params = {"epochs": epochs, "steps": len(batches), "verbose": verbose, "validation_freq": validation_freq}
        own: list[Any] = [history]
        if verbose:
            own.append(Progress(2 if verbose == 2 else 1))
        group = group_of_now.get()
        calls = CallbackList([*_as_list(callbacks), *own], model=self, **params)
        calls.rank = 0 if group is None else group.rank
        self.stop_training = False
        figures = self.directions()
        if validation is not None:
            figures.update({f"val_{name}": direction for name, direction in figures.items()})
        calls.watch(figures)
        self.first_epoch = initial_epoch
        calls.call("train_begin", None)
        if group is not None:
            group.start(self, batches, validation, params)
        initial_epoch = self.first_epoch  # a callback may know where an interrupted training was
        with Interrupts() as interrupts:
            try:
                for epoch in range(initial_epoch, epochs):
                    interrupts.check()
                    calls.call("epoch_begin", epoch, None)
                    logs = self._epoch(batches.epoch(epoch), calls, interrupts, by_batch)
                    if validation is not None and (epoch + 1) % validation_freq == 0:
                        validation.restart()
                        with _states_aside(self):
                            found = self._evaluate(validation.epoch(), calls, interrupts)
                        logs.update({f"val_{name}": value for name, value in found.items()})
                    calls.call("epoch_end", epoch, logs)
                    if group is not None:
                        group.end_epoch(self)
                    if self.stop_training:
                        break
                with interrupts_wait():
                    self.optimizer.finalize_variable_values()
                interrupts.check()
                if group is not None:
                    group.end(self)
            except KeyboardInterrupt as error:
                if interrupts.count > 1:
                    raise
                if group is not None:
                    group.tell(error)
                history.interrupted = True
                print("interrupted: weights and history are those of the last finished batch", flush=True)
            finally:
                calls.call("train_end", None)
        return history

    def _epoch(self, batches: Any, calls: CallbackList, interrupts: Interrupts, class_weight: Any) -> dict[str, float]:
        self._reset_metrics()
        total, rows, number = 0.0, 0, -1
        logs: dict[str, float] = {}
        trained, stops, grouped = None, False, group_of_now.get() is not None
        for number, batch in enumerate(batches):
            logs = {}  # those of the batch before are read no more, unless a callback has them
            calls.call("train_batch_begin", number, None)
            interrupts.check()
            if trained is None:
                trained = self._weights_to_train(batch)
            if class_weight is not None:
                weights = weights_by_class(self, batch.y, class_weight, batch.sample_weight)
                batch = replace(batch, sample_weight=weights)
            try:
                interrupts.batch_runs = not grouped  # other processes would wait for one that gives it up
                loss = self._train_step(batch, trained, stops)
            except StoppedTogether:
                logs = self._logs(total / max(1, rows))
                break
            finally:
                interrupts.batch_runs = False
            size = batch.size
            total, rows = total + loss * size, rows + size
            logs = self._logs(total / max(1, rows))
            calls.call("train_batch_end", number, logs)
            interrupts.check()
            stops = self.stop_training
            if stops and not grouped:  # several processes stop before their next step
                break
        if number < 0:
            raise ValueError(
                "fit: the data gave no batch for this epoch; a generator must go on, or give a list or another "
                "iterable that can be read again"
            )
        return dict(logs)

    def _weights_to_train(self, batch: Batch) -> TrainedWeights:
        """Those of the model, which is built for a batch if it was waiting for one."""
        if not self.built:
            self.prepare(batch.x)
        if self.optimizer.wants_paths and not self.optimizer.built:
            model: Any = self
            self.optimizer.take_paths({id(weight): path for path, weight in weight_paths(model, self.name)})
        return self.trained_weights()

    def try_batch(self, batch: Batch) -> None:
        """Run a batch as for an evaluation, for the errors alone; stateful models are left out."""
        if not self.is_stateful:
            outputs, _, (_, values, _) = self._forward(batch, False)
            self._try_metrics(outputs, values, batch.size)

    # ---- evaluate, predict -----------------------------------------------------------------------------------------

    @together
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
        self._refuse_pair("evaluate", x, y)
        batches = batches_of(self, x, y, sample_weight, batch_size=batch_size, steps=steps)
        calls = CallbackList(callbacks, model=self)
        if (group := group_of_now.get()) is not None:
            calls.rank = group.rank
        found = self._evaluate(batches.epoch(), calls)
        if return_dict:
            return found
        return list(found.values()) if len(found) > 1 else found["loss"]

    def _evaluate(self, batches: Any, calls: CallbackList, interrupts: Interrupts | None = None) -> dict[str, float]:
        calls.call("test_begin", None)
        self._reset_metrics()
        total, rows = 0.0, 0
        group = group_of_now.get()
        for number, batch in enumerate(batches):
            calls.call("test_batch_begin", number, None)
            try:
                if interrupts is not None:
                    interrupts.batch_runs = group is None
                with ALONE if group is None else group.share(self, batch, False) as share:
                    outputs, pullback, (loss, values, _) = self._forward(batch, False, share)
                    if share is not None:
                        outputs = share.join_outputs(self, outputs)
            finally:
                if interrupts is not None:
                    interrupts.batch_runs = False
            size = batch.size
            penalty = pullback.activity_loss if share is None else share.penalty
            total, rows = total + (loss + penalty) * size, rows + size
            self._update_metrics(outputs, values, size)
            calls.call("test_batch_end", number, self._logs(total / max(1, rows)))
            if interrupts is not None:
                interrupts.check()
        if not rows:
            raise ValueError("evaluate: there is no data")
        penalty = self.regularization_loss()
        found = dict(self._logs(total / rows + penalty))
        calls.call("test_end", found)
        return found

    @together
    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """One step on one batch; the loss and metrics before the update."""
        self._check_compiled("train_on_batch")
        self._refuse_pair("train_on_batch", x, y)
        batch = one_batch(self, x, y, sample_weight)
        trained = self._weights_to_train(batch)
        if class_weight is not None:
            check_class_weight(self, class_weight)
            batch.sample_weight = weights_by_class(self, batch.y, class_weight, batch.sample_weight)
        self._reset_metrics()
        loss = self._train_step(batch, trained)
        found = dict(self._logs(loss))
        if return_dict:
            return found
        return list(found.values()) if len(found) > 1 else found["loss"]

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """Loss and metrics of one batch."""
        return self.evaluate([one_batch(self, x, y, sample_weight)], return_dict=return_dict)


@contextmanager
def _states_aside(model: Any) -> Iterator[None]:
    """Let a stateful model start from rest, and go on afterwards where it was."""
    if not model.is_stateful:
        yield
        return
    layers: list[Any] = list(walk(model))
    kept = [(layer, layer.states) for layer in layers if getattr(layer, "states", None) is not None]
    model.reset_states()
    try:
        yield
    finally:
        model.reset_states()
        for layer, states in kept:
            layer.states = states


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]
