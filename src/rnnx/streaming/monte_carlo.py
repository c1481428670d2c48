"""Monte Carlo dropout step by step: one stream whose rows are samples, each a network with masks of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rnnx._changes import Changes
from rnnx._typing import Array
from rnnx.dropout import DropoutMasks
from rnnx.dropout.noise import current_passes
from rnnx.dropout.passes import NotRows, Passes
from rnnx.layers.layer import walk
from rnnx.layers.noise import NoiseLayer, SpatialDropout, check_noise, is_noisy
from rnnx.streaming.stream import Stream


class MonteCarloStream:
    """A stream of several networks with dropout on; made by ``model.stream(batch_size, mc=samples)``.

    Each sample keeps its masks as long as the stream lives, as a layer does over the steps of a sequence; what draws
    anew at every step (`Dropout` between recurrent layers) draws on. Weights are those at the time it was made.

    Parameters
    ----------
    layer : Layer or Model
        Built; as for `Stream`.
    batch_size : int
    samples : int

    Raises
    ------
    ValueError
        If the layer or model cannot be streamed, has no noise, or has some that is not drawn for each row: it is named.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> layer = rnnx.layers.GRU(4, dropout=0.5, seed=1)
    >>> y = layer(np.ones((1, 3, 2)))
    >>> mean, deviation = layer.stream(mc=20).step(np.ones((1, 2)))
    >>> mean.shape, bool((deviation > 0).all())
    ((1, 4), True)
    """

    def __init__(self, layer: Any, batch_size: int = 1, samples: int = 50):
        for name, value in (("batch_size", batch_size), ("mc", samples)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"stream: `{name}` must be a positive integer, got {value!r}")
        self.batch_size, self.samples = int(batch_size), int(samples)
        with Changes():
            self._stream = Stream(
                layer, self.batch_size * self.samples, StepNoise(layer, self.batch_size, self.samples)
            )
        check_noise("stream(mc=)", layer)

    def _of_all(self, rows: Any) -> Any:
        """What is given for the rows of a batch, for those of all samples."""
        if rows is None:
            return None
        array = np.asarray(rows)
        if array.shape[:1] != (self.batch_size,):
            raise ValueError(f"stream: expected {self.batch_size} row(s), got shape {array.shape}")
        return np.tile(array, (self.samples, *(1,) * (array.ndim - 1)))

    def _figures(self, y: Array) -> tuple[Array, Array]:
        values = y.reshape(self.samples, self.batch_size, *y.shape[1:])
        mean, deviation = (function(axis=0, dtype=np.float64) for function in (values.mean, values.std))
        return mean.astype(y.dtype), deviation.astype(y.dtype)

    def step(self, x: Any, *, mask: Any = None, reset: Any = None) -> tuple[Array, Array]:
        """Mean and standard deviation of the outputs of all samples; arguments as of `Stream.step`."""
        return self._figures(self._stream.step(self._of_all(x), mask=self._of_all(mask), reset=self._of_all(reset)))

    def run(self, block: Any, *, mask: Any = None, reset: Any = None) -> tuple[Array, Array]:
        """Those of several steps, of shape (batch, timesteps, ...); arguments as of `Stream.run`."""
        return self._figures(self._stream.run(self._of_all(block), mask=self._of_all(mask), reset=self._of_all(reset)))

    def reset(self, rows: Any = None) -> None:
        """Start again, with all rows or with some; the masks stay."""
        chosen = np.zeros(self.batch_size, bool)
        chosen[slice(None) if rows is None else rows] = True
        self._stream.reset(self._of_all(chosen))

    def __reduce__(self) -> Any:
        raise TypeError("a stream with mc= can be neither copied nor pickled: its masks are its own; make another one")


class StepNoise:
    """The noise of the samples of a stream, for its rows.

    Parameters
    ----------
    layer : Layer or Model
    rows : int
        Of each sample.
    samples : int
    """

    def __init__(self, layer: Any, rows: int, samples: int):
        self._rows, self._samples = rows, samples
        self._passes = Passes(samples, False, once=True)
        self._layer = layer
        self.start()

    def start(self) -> None:
        """The steps are made from here on."""
        self._asked: list[Any] = []  # the layers

    def finish(self) -> None:
        """Refuse what has noise that no step applies."""
        for part in walk(self._layer):
            if is_noisy(part) and not any(part is asked for asked in self._asked):
                self._refuse(part, "its noise is not drawn for each row of a step")

    def _refuse(self, layer: Any, reason: str) -> None:
        raise ValueError(f"stream: layer {layer.name!r} cannot be streamed with mc=: {reason}")

    def _drawn(self, layer: Any, draw: Callable[[], Any]) -> Any:
        if any(layer.seed_generator is getattr(asked, "seed_generator", None) for asked in self._asked):
            self._refuse(layer, "it is called twice, or shares its source of noise")
        self._asked.append(layer)
        try:
            with self._passes.run(range(self._samples), self._rows):
                return draw()
        except NotRows:
            self._refuse(layer, "its noise is not drawn for each row")

    def masks(self, cell: Any) -> DropoutMasks | None:
        """The masks of a recurrent layer or cell."""
        if not is_noisy(cell):
            return None
        rows = self._samples * self._rows
        masks = self._drawn(cell, lambda: cell.sample_masks(rows, 2, training=True))
        if masks is not None:
            for array in (masks.inputs, masks.recurrent, masks.zoneout_hidden, masks.zoneout_cell):
                if array is not None and array.shape[-2] == 2:
                    self._refuse(cell, "it draws new masks at every step")
        return masks

    def function(self, layer: NoiseLayer) -> Callable[[Any, Any], tuple[Any, Any]]:
        """The function of a step of a layer that is noise and nothing else."""
        if not is_noisy(layer):
            return lambda x, mask: (x, mask)
        draws = self._drawn(layer, layer.seed_generator.begin)
        shape = getattr(layer, "noise_shape", None)
        given = _Given(draws, isinstance(layer, SpatialDropout) or (shape is not None and shape[-2:-1] == (1,)))

        def step(x: Any, mask: Any) -> tuple[Any, Any]:
            token = current_passes.set(given)
            try:
                return layer.apply(x)[0], mask
            finally:
                current_passes.reset(token)

        return step


class _Given:
    """Noise that was begun before: what `SeedGenerator.begin` gives inside of a step."""

    rounds_weights = False

    def __init__(self, draws: Any, held: bool):
        self._draws, self._held = draws, held
        self._first: Any = None  # what all steps share

    def begin(self, generator: Any, values: int) -> Any:
        return self if self._held else self._draws

    def keep(self, shape: Sequence[int], rate: float, shared: bool = False) -> Array:
        """As of `Draws`; at every step that of the first one."""
        if self._first is None:
            self._first = self._draws.keep(shape, rate, shared)
        return self._first

    def uniform(self, shape: Sequence[int], shared: bool = False) -> Array:
        """Likewise."""
        if self._first is None:
            self._first = self._draws.uniform(shape, shared)
        return self._first
