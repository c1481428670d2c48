"""Dropout and its relatives as layers: active in training, the identity otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rnnx import dropout
from rnnx._typing import Array
from rnnx.dropout import SeedGenerator
from rnnx.layers.checks import generator_of, seed_config
from rnnx.layers.layer import Gradients, Layer, Pullback, walk
from rnnx.layers.old_words import takes_old_words
from rnnx.layers.places import OverPlaces, TakesDataFormat


class NoiseLayer(Layer):
    """A rate, a seed, and noise in training."""

    one_allowed = False
    rate_name = "rate"  # of the argument of the constructor
    rate: float
    positional_arguments = ("training",)

    @takes_old_words
    def __init__(self, rate: float, seed: int | SeedGenerator | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        checked = dropout.check_rate(type(self).__name__, self.rate_name, rate, one_allowed=self.one_allowed)
        vars(self)[self.rate_name] = checked
        self.seed_generator = generator_of(seed)
        self.seed = None if seed is None else self.seed_generator.seed
        self.built = True

    def apply(self, x: Array) -> tuple[Array, Callable[[Array], Array]]:
        """The noisy value and its pullback."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its noise is")

    def forward(
        self, x: Array, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        y, back = self.apply(x) if training and self.rate > 0 else (x, None)

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            dy = self.cast(dy)
            return Gradients((dy if back is None else back(dy)) if need_dx else None)

        return y, pullback if keep else None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), self.rate_name: self.rate, "seed": seed_config(self.seed, self.seed_generator)}


RATES = ("rate", "dropout", "recurrent_dropout", "zoneout")  # by which a layer says how much noise it draws


def is_noisy(layer: Any) -> bool:
    """Whether a layer draws noise in training itself, as its rates say; one that has none by these names draws it."""
    if not hasattr(layer, "seed_generator"):
        return False
    rates = [getattr(layer, name) for name in RATES if hasattr(layer, name)]
    return not rates or any(any(rate) if isinstance(rate, (list, tuple)) else bool(rate) for rate in rates)


def check_noise(who: str, layer: Any) -> None:
    """Refuse to sample a layer or model whose samples would all be the same.

    Raises
    ------
    ValueError
        If nothing in it draws noise.
    """
    if not any(is_noisy(part) for part in walk(layer)):
        raise ValueError(
            f"{who}: {layer.name!r} has no dropout or other noise with a rate above 0: all samples would be the same, "
            "with deviation 0; give a recurrent layer `dropout` or `recurrent_dropout`, or add a Dropout layer"
        )


class Dropout(NoiseLayer):
    """Drops numbers at random and scales the rest by ``1 / (1 - rate)``.

    Parameters
    ----------
    rate : float
        In [0, 1]; 1 drops everything.
    noise_shape : tuple, optional
        Shape of the mask; None entries take the input's size. For input of shape (batch, timesteps, features):
        ``(None, 1, None)`` keeps the pattern for all steps, ``(None, None, 1)`` drops whole steps,
        ``(1, 1, None)`` drops the same features in all rows, ``(None, 1, 1)`` whole sequences.
    seed : int, SeedGenerator or None

    References
    ----------
    .. [1] N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15, 2014.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> layer = rnnx.layers.Dropout(0.5, noise_shape=(None, None, 1), seed=1)
    >>> y = layer(np.ones((1, 4, 3)), training=True)
    >>> bool(((y == 0).all(-1) | (y == 2).all(-1)).all())    # whole steps
    True
    """

    one_allowed = True

    @takes_old_words
    def __init__(self, rate: float, noise_shape: Any = None, seed: int | SeedGenerator | None = None, **kwargs: Any):
        super().__init__(rate, seed, **kwargs)
        self.noise_shape = dropout.check_noise_shape(type(self).__name__, noise_shape)

    def apply(self, x: Array) -> tuple[Array, Callable[[Array], Array]]:
        y, kept = dropout.dropout(x, self.rate, self.seed_generator.begin(), self.noise_shape, self.name)
        return y, lambda dy: dropout.dropout_backward(dy, kept, self.rate)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "noise_shape": self.noise_shape}


class SpatialDropout(NoiseLayer, OverPlaces):
    """Base of the layers that drop whole features: one mask per sample, the same at every place."""

    one_allowed = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        self.check_rank(input_shape)
        return input_shape

    def apply(self, x: Array) -> tuple[Array, Callable[[Array], Array]]:
        self.check_rank(x.shape)
        places = (1,) * self.rank
        shape = (None, None, *places) if self.channels_first else (None, *places, None)
        y, kept = dropout.dropout(x, self.rate, self.seed_generator.begin(), shape, self.name)
        return y, lambda dy: dropout.dropout_backward(dy, kept, self.rate)


class SpatialDropout1D(SpatialDropout):
    """Drops whole features: one mask per sequence, the same at every step (``noise_shape=(None, 1, None)``).

    Parameters
    ----------
    rate : float
    seed : int, SeedGenerator or None

    References
    ----------
    .. [1] J. Tompson et al., "Efficient object localization using convolutional networks", CVPR 2015.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.SpatialDropout1D(0.5, seed=1)(np.ones((2, 5, 3)), training=True).shape
    (2, 5, 3)
    """


class SpatialDropout2D(TakesDataFormat, SpatialDropout):
    """Drops whole features: one mask per image, the same in every row and column.

    Parameters
    ----------
    rate : float
    data_format : {"channels_last", "channels_first"}
        Shape of the input: (batch, rows, columns, features), or (batch, features, rows, columns).
    seed : int, SeedGenerator or None

    References
    ----------
    .. [1] J. Tompson et al., "Efficient object localization using convolutional networks", CVPR 2015.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> y = rnnx.layers.SpatialDropout2D(0.5, seed=1)(np.ones((1, 2, 2, 8)), training=True)
    >>> bool((y == y[:, :1, :1]).all())
    True
    """

    rank = 2

    def __init__(self, rate: float, data_format: Any = None, seed: int | SeedGenerator | None = None, **kwargs: Any):
        super().__init__(rate, seed, data_format=data_format, **kwargs)


class GaussianNoise(NoiseLayer):
    """Adds normal noise of mean 0.

    Parameters
    ----------
    stddev : float
        Standard deviation of the noise, in [0, 1].
    seed : int, SeedGenerator or None

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> layer, x = rnnx.layers.GaussianNoise(0.1, seed=1), np.ones((2, 3))
    >>> bool((layer(x) == 1).all()), bool((layer(x, training=True) == 1).any())
    (True, False)
    """

    one_allowed = True
    rate_name = "stddev"
    stddev: float

    @takes_old_words
    def __init__(self, stddev: float, seed: int | SeedGenerator | None = None, **kwargs: Any):
        super().__init__(stddev, seed, **kwargs)

    rate: Any = property(lambda self: self.stddev, doc="The standard deviation.")

    def apply(self, x: Array) -> tuple[Array, Callable[[Array], Array]]:
        return dropout.gaussian_noise(x, self.stddev, self.seed_generator.begin()), lambda dy: dy


class GaussianDropout(NoiseLayer):
    """Multiplies by normal noise of mean 1 and variance ``rate / (1 - rate)``.

    Parameters
    ----------
    rate : float
    seed : int, SeedGenerator or None

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.GaussianDropout(0.5, seed=1)(np.ones((2, 3)), training=True).shape
    (2, 3)
    """

    def apply(self, x: Array) -> tuple[Array, Callable[[Array], Array]]:
        y, factor = dropout.gaussian_dropout(x, self.rate, self.seed_generator.begin())
        return y, lambda dy: dropout.gaussian_dropout_backward(dy, factor)


class AlphaDropout(NoiseLayer):
    """Dropout that keeps mean and variance of SELU activations.

    Parameters
    ----------
    rate : float
    noise_shape : tuple, optional
    seed : int, SeedGenerator or None

    References
    ----------
    .. [1] G. Klambauer et al., "Self-normalizing neural networks", NeurIPS 2017.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.AlphaDropout(0.5, seed=1)(np.ones((2, 3)), training=True).shape
    (2, 3)
    """

    @takes_old_words
    def __init__(self, rate: float, noise_shape: Any = None, seed: int | SeedGenerator | None = None, **kwargs: Any):
        super().__init__(rate, seed, **kwargs)
        self.noise_shape = dropout.check_noise_shape(type(self).__name__, noise_shape)

    def apply(self, x: Array) -> tuple[Array, Callable[[Array], Array]]:
        y, slope = dropout.alpha_dropout(x, self.rate, self.seed_generator.begin(), self.noise_shape)
        return y, lambda dy: dropout.alpha_dropout_backward(dy, slope)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "noise_shape": self.noise_shape}
