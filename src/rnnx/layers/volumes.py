"""Layers over volumes, which have three axes of places: depth, rows and columns, or the frames of a film."""

from __future__ import annotations

from typing import Any

from rnnx.dropout import SeedGenerator
from rnnx.layers.convolution import Convolution
from rnnx.layers.noise import SpatialDropout
from rnnx.layers.places import TakesDataFormat
from rnnx.layers.pooling import AveragePooling, GlobalAveragePooling, GlobalMaxPooling, MaxPooling
from rnnx.layers.resizing import Cropping, UpSampling, ZeroPadding
from rnnx.layers.transposed import ConvolutionTranspose


class Conv3D(Convolution):
    """Convolution of volumes: every output is a product with a window of depth, rows and columns.

    Parameters
    ----------
    filters : int
    kernel_size, strides, dilation_rate : int or (int, int, int)
        Along depth, rows and columns.
    padding : {"valid", "same"}
    data_format : {"channels_last", "channels_first"}
        Shape of the input and output: (batch, depth, rows, columns, features), or
        (batch, features, depth, rows, columns).
    groups : int
        The features and filters are split into so many parts, each of which sees its own features only.
    activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
    activity_regularizer, kernel_constraint, bias_constraint
        As in Keras 3.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.Conv3D(4, 3, strides=(1, 2, 1))(np.ones((2, 5, 7, 6, 3))).shape
    (2, 3, 3, 4, 4)
    """

    rank = 3


class Conv3DTranspose(ConvolutionTranspose):
    """Transposed convolution of volumes, the way back of the places of a `Conv3D`.

    Parameters
    ----------
    filters : int
    kernel_size, strides, dilation_rate : int or (int, int, int)
        Along depth, rows and columns.
    padding : {"valid", "same"}
    output_padding : int or (int, int, int), optional
        Further places at the end of each axis, fewer than ``strides``.
    data_format : {"channels_last", "channels_first"}
        Shape of the input and output: (batch, depth, rows, columns, features), or
        (batch, features, depth, rows, columns).
    activation, use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer,
    activity_regularizer, kernel_constraint, bias_constraint
        As in Keras 3.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.Conv3DTranspose(4, 3, strides=2)(np.ones((2, 3, 4, 5, 1))).shape
    (2, 7, 9, 11, 4)
    """

    rank = 3


class MaxPooling3D(MaxPooling):
    """Largest value of each window of depth, rows and columns.

    Parameters
    ----------
    pool_size, strides : int or (int, int, int)
        Without ``strides`` they are ``pool_size``.
    padding : {"valid", "same"}
    data_format : {"channels_last", "channels_first"}
        Shape of the input and output: (batch, depth, rows, columns, features), or
        (batch, features, depth, rows, columns).

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.MaxPooling3D((1, 2, 2))(np.ones((1, 3, 4, 5, 2))).shape
    (1, 3, 2, 2, 2)
    """

    rank = 3


class AveragePooling3D(AveragePooling):
    """Mean of each window of depth, rows and columns; padding does not count.

    Parameters
    ----------
    pool_size, strides : int or (int, int, int)
        Without ``strides`` they are ``pool_size``.
    padding : {"valid", "same"}
    data_format : {"channels_last", "channels_first"}
        Shape of the input and output: (batch, depth, rows, columns, features), or
        (batch, features, depth, rows, columns).

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.AveragePooling3D(2, padding="same")(np.ones((1, 3, 4, 5, 2))).shape
    (1, 2, 2, 3, 2)
    """

    rank = 3


class GlobalMaxPooling3D(GlobalMaxPooling):
    """Largest value over all places of a volume.

    Parameters
    ----------
    data_format : {"channels_last", "channels_first"}
        Shape of the input: (batch, depth, rows, columns, features), or (batch, features, depth, rows, columns).
    keepdims : bool
        The output keeps the axes of places, of one each.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.GlobalMaxPooling3D()(np.ones((1, 3, 4, 5, 2))).shape
    (1, 2)
    """

    rank = 3


class GlobalAveragePooling3D(GlobalAveragePooling):
    """Mean over all places of a volume.

    Parameters
    ----------
    data_format : {"channels_last", "channels_first"}
        Shape of the input: (batch, depth, rows, columns, features), or (batch, features, depth, rows, columns).
    keepdims : bool
        The output keeps the axes of places, of one each.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.GlobalAveragePooling3D(keepdims=True)(np.ones((1, 3, 4, 5, 2))).shape
    (1, 1, 1, 1, 2)
    """

    rank = 3


class ZeroPadding3D(ZeroPadding):
    """Zeros around a volume.

    Parameters
    ----------
    padding : int, (depth, rows, columns) or a pair (before, after) for each of them
    data_format : {"channels_last", "channels_first"}
        Shape of the input and output: (batch, depth, rows, columns, features), or
        (batch, features, depth, rows, columns).

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.ZeroPadding3D(((1, 0), (2, 2), (0, 0)))(np.ones((1, 3, 4, 5, 2))).shape
    (1, 4, 8, 5, 2)
    """

    rank = 3


class Cropping3D(TakesDataFormat, Cropping):
    """A volume without its edges.

    Parameters
    ----------
    cropping : int, (depth, rows, columns) or a pair (before, after) for each of them
    data_format : {"channels_last", "channels_first"}
        Shape of the input and output: (batch, depth, rows, columns, features), or
        (batch, features, depth, rows, columns).

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.Cropping3D(((1, 0), (1, 1), (0, 0)))(np.ones((1, 3, 4, 5, 2))).shape
    (1, 2, 2, 5, 2)
    """

    rank = 3

    def __init__(self, cropping: Any = ((1, 1), (1, 1), (1, 1)), data_format: Any = None, **kwargs: Any):
        super().__init__(cropping, data_format=data_format, **kwargs)


class UpSampling3D(TakesDataFormat, UpSampling):
    """Every place of a volume several times along each axis.

    Parameters
    ----------
    size : int or (int, int, int)
        Times along depth, rows and columns.
    data_format : {"channels_last", "channels_first"}
        Shape of the input and output: (batch, depth, rows, columns, features), or
        (batch, features, depth, rows, columns).

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.UpSampling3D((1, 2, 3))(np.ones((1, 3, 4, 5, 2))).shape
    (1, 3, 8, 15, 2)
    """

    rank = 3

    def __init__(self, size: Any = (2, 2, 2), data_format: Any = None, **kwargs: Any):
        super().__init__(size, data_format=data_format, **kwargs)


class SpatialDropout3D(TakesDataFormat, SpatialDropout):
    """Drops whole features: one mask per volume, the same at every place.

    Parameters
    ----------
    rate : float
    data_format : {"channels_last", "channels_first"}
        Shape of the input: (batch, depth, rows, columns, features), or (batch, features, depth, rows, columns).
    seed : int, SeedGenerator or None

    References
    ----------
    .. [1] J. Tompson et al., "Efficient object localization using convolutional networks", CVPR 2015.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> y = rnnx.layers.SpatialDropout3D(0.5, seed=1)(np.ones((1, 2, 2, 2, 8)), training=True)
    >>> bool((y == y[:, :1, :1, :1]).all())
    True
    """

    rank = 3

    def __init__(self, rate: float, data_format: Any = None, seed: int | SeedGenerator | None = None, **kwargs: Any):
        super().__init__(rate, seed, data_format=data_format, **kwargs)
