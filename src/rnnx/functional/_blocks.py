"""Block-diagonal recurrent kernels: as they are held, and as the whole matrices that they stand for."""

from __future__ import annotations

import numpy as np

from rnnx._typing import Array


def dense_kernel(recurrent_kernel: Array, recurrent_blocks: int) -> Array:
    """The whole matrix that a block-diagonal recurrent kernel stands for.

    Parameters
    ----------
    recurrent_kernel : array of shape (units / recurrent_blocks, gates*units)
        Column j of a gate holds the weights on the units of the block that unit j is in.
    recurrent_blocks : int

    Returns
    -------
    array of shape (units, gates*units)
        Zero where unit and column are of different blocks.

    Raises
    ------
    ValueError
        If the shape does not fit the number of blocks.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnx.functional import dense_kernel
    >>> dense_kernel(np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]), 2)
    array([[1., 2., 0., 0.],
           [5., 6., 0., 0.],
           [0., 0., 3., 4.],
           [0., 0., 7., 8.]])
    """
    shape, blocks = recurrent_kernel.shape, recurrent_blocks
    units = shape[0] * blocks
    if len(shape) != 2 or units < 1 or shape[1] % units:
        wanted = f"(units / {blocks}, gates*units)"
        raise ValueError(f"dense_kernel: `recurrent_kernel` must have shape {wanted}, got {shape}")
    size, gates = shape[0], shape[1] // units
    whole = np.zeros((blocks, size, gates, blocks, size), recurrent_kernel.dtype)
    by_block = recurrent_kernel.reshape(size, gates, blocks, size)
    for block in range(blocks):
        whole[block, :, :, block] = by_block[:, :, block]
    return whole.reshape(units, gates * units)


def kernel_of_blocks(dense: Array, recurrent_blocks: int) -> Array:
    """The blocks of a whole matrix, as `dense_kernel` takes them; what stands outside of them is left out.

    Parameters
    ----------
    dense : array of shape (units, gates*units)
    recurrent_blocks : int

    Returns
    -------
    array of shape (units / recurrent_blocks, gates*units)

    Raises
    ------
    ValueError
        If the shape does not fit the number of blocks.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnx.functional import kernel_of_blocks
    >>> kernel_of_blocks(np.arange(16.0).reshape(4, 4), 2)
    array([[ 0.,  1., 10., 11.],
           [ 4.,  5., 14., 15.]])
    """
    if dense.ndim != 2 or dense.shape[0] % recurrent_blocks or dense.shape[1] % dense.shape[0]:
        wanted = f"(units, gates*units) with units in {recurrent_blocks} equal blocks"
        raise ValueError(f"kernel_of_blocks: `dense` must have shape {wanted}, got {dense.shape}")
    units, wide = dense.shape
    size, gates = units // recurrent_blocks, wide // units
    blocks = dense.reshape(recurrent_blocks, size, gates, recurrent_blocks, size)
    return np.stack([blocks[b, :, :, b] for b in range(recurrent_blocks)], axis=2).reshape(size, wide)
