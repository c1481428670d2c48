"""``predict`` and its kin: outputs of a model for data of any form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rnnx._nested import packed
from rnnx.callbacks.callback_list import CallbackList
from rnnx.training.batches import OneBatch, batches_of_inputs, in_order, one_batch, take
from rnnx.training.forms import inputs_of


class Predicting:
    """What a model gives without being trained; a base of `Trainer`."""

    output_template: Any
    several_outputs: Any

    def forward_with_mask(
        self, x: Any, *, mask: Any = None, lengths: Any = None, training: bool = False, keep: bool = False
    ) -> tuple[Any, Any, Any]:
        """Outputs, their time masks, and the pullback."""
        raise NotImplementedError

    def predict(
        self, x: Any, batch_size: int | None = None, verbose: Any = 0, steps: int | None = None, callbacks: Any = None
    ) -> Any:
        """Outputs for some data, in its order; arguments as for `fit`.

        Returns
        -------
        array, or arrays in the form of the outputs for several of them
            For a ragged list with an output for each step: a list with an array for each row.
        """
        batches = batches_of_inputs(self, x, batch_size, steps)
        calls = None if callbacks is None else CallbackList(callbacks, model=self)
        if calls is not None:
            calls.call("predict_begin", None)
        found: list[tuple[list[Any], list[Any], Any]] = []  # values and valid steps of all outputs, and rows
        number = -1
        for number, batch in enumerate(batches.epoch()):
            if calls is not None:
                calls.call("predict_batch_begin", number, None)
            y, masks, _ = self.forward_with_mask(batch.x, lengths=batch.lengths)
            if calls is not None:
                calls.call("predict_batch_end", number, None)
            values = y if self.several_outputs else [y]
            lengths: list[Any] = [None] * len(values)
            if batch.lengths is not None:
                for k, mask in enumerate(masks if self.several_outputs else [masks]):
                    if mask is not None and mask.shape == values[k].shape[:2]:
                        lengths[k] = batch.lengths
            found.append((values, lengths, batch.rows))
        if calls is not None:
            calls.call("predict_end", None)
        if number < 0:
            y = self.forward_with_mask(take(inputs_of(self, x), slice(0, 0)))[0]
            return self._in_form(y if self.several_outputs else [y])
        if type(batches) is OneBatch:
            return self._in_form(found[0][0])
        rows = [places for _, _, places in found]
        joined = []
        for k in range(len(found[0][0])):
            joined.append(in_order([values[k] for values, _, _ in found], [own[k] for _, own, _ in found], rows))
        return self._in_form(joined)

    def _in_form(self, values: list[Any]) -> Any:
        """The values of all outputs as the model returns them."""
        if self.output_template is not None:
            return packed(self.output_template, values)
        return values if self.several_outputs else values[0]

    def predict_mc(
        self,
        x: Any,
        samples: int = 50,
        share_masks: bool = False,
        batch_size: int | None = None,
        *,
        quantiles: Sequence[float] | None = None,
        return_samples: bool = False,
        until: float | None = None,
    ) -> tuple[Any, ...]:
        """Monte Carlo dropout: mean and standard deviation of the output with dropout on.

        The samples are those of so many calls ``model(x, training=True)`` (of 256 rows each, if there are more), but
        that `BatchNormalization` uses its moving averages and stateful layers start every pass from the states they
        carry, and keep them. They are rows of one batch, and depend on neither ``batch_size`` nor threads.

        Parameters
        ----------
        x : array or ragged list
        samples : int
            Passes; at most so many with ``until``.
        share_masks : bool
            Every row sees the same masks in a pass, so that outputs can be compared with each other.
        batch_size : int, optional
            Rows that are run at once, of all samples together; 128 if not given.
        quantiles : list of float, optional
            In [0, 1]; those of the samples are returned too.
        return_samples : bool
            Return the samples too.
        until : float, optional
            Stop as soon as the standard error of every mean, its deviation divided by the square root of the number of
            samples, is no larger; looked at after every tenth sample.

        Returns
        -------
        mean, deviation : arrays of the shape of the output
            For a ragged list with an output for each step: lists with an array for each row, here and below.
        quantiles : array of shape (quantiles, *shape of the output), if wanted
        samples : array of shape (samples, *shape of the output), if wanted

        Raises
        ------
        ValueError
            If an argument does not fit, the model has several inputs or outputs, or nothing in it draws noise: the
            samples would be the same.

        References
        ----------
        .. [1] Y. Gal, Z. Ghahramani, "Dropout as a Bayesian approximation", ICML 2016.

        Examples
        --------
        >>> import numpy as np, rnnx
        >>> model = rnnx.Sequential([rnnx.layers.GRU(8, dropout=0.5, seed=1), rnnx.layers.Dense(1)])
        >>> x = np.ones((3, 5, 2), "float32")
        >>> mean, deviation, (low, high) = model.predict_mc(x, samples=100, quantiles=[0.05, 0.95])
        >>> mean.shape, bool((low < mean).all()), bool((mean < high).all())
        ((3, 1), True, True)
        """
        from rnnx.training.monte_carlo import predict_mc

        return predict_mc(self, x, samples, share_masks, batch_size, quantiles, return_samples, until)

    def predict_on_batch(self, x: Any) -> Any:
        """Outputs of one batch."""
        batch = one_batch(self, x)
        y = self.forward_with_mask(batch.x, lengths=batch.lengths)[0]
        return self._in_form(y if self.several_outputs else [y])
