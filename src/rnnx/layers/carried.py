"""Time masks that ride on arrays, from a layer that makes one or passes it on to the next layer.

In a model the plan hands masks on. Outside of one there is nothing but the array that a layer returned: an array that
knows its mask. Only what has a mask is such an array; everything else stays a plain one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.layers.tagged import TaggedArray


class MaskCarrier(TaggedArray):
    """An array that a layer returned, with its time mask.

    The mask belongs to this very array: slices, results of arithmetic and of other functions of NumPy are plain arrays,
    ``copy.copy``, ``copy.deepcopy`` and pickles keep it.

    Attributes
    ----------
    mask : bool array of shape (batch, timesteps) or None
        True = use the step. None for views that NumPy makes.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> words = rnnx.layers.Embedding(9, 2, mask_zero=True)(np.array([[3, 1, 0]]))
    >>> words.mask
    array([[ True,  True, False]])
    >>> type(2 * words).__name__
    'ndarray'
    """

    mask: Any = None

    @property
    def _keras_mask(self) -> Any:
        """The mask by the name under which scripts for Keras look for it."""
        return self.mask

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        result = super().__array_function__(func, types, args, kwargs)
        return result.view(np.ndarray) if type(result) is MaskCarrier and result.mask is None else result

    def __copy__(self) -> Any:
        return carrying(self.view(np.ndarray).copy(), self.mask)

    def __deepcopy__(self, memo: Any) -> Any:
        return carrying(self.view(np.ndarray).copy(), None if self.mask is None else self.mask.copy())

    def __reduce__(self) -> Any:
        return carrying, (self.view(np.ndarray), self.mask)


def carrying(array: Array, mask: Any) -> Array:
    """The array with a time mask on it; itself if the mask is none, or none of its steps."""
    if not isinstance(mask, np.ndarray) or mask.ndim >= array.ndim:
        return array
    carrier = array.view(MaskCarrier)
    carrier.mask = mask
    return carrier


def all_carrying(y: Any, mask: Any) -> Any:
    """One output or a list of them with their masks, as `Layer.compute_mask` gives these."""
    if not isinstance(y, list):
        return carrying(y, mask[0] if isinstance(mask, list) else mask)
    masks = list(mask) if isinstance(mask, list) else [mask]
    masks += [None] * (len(y) - len(masks))
    return [carrying(part, own) for part, own in zip(y, masks, strict=True)]


def carries(x: Any) -> bool:
    """Whether an input, or one in a list of them, is an array with a mask on it."""
    if isinstance(x, (list, tuple)):
        return any(isinstance(part, MaskCarrier) for part in x)
    return isinstance(x, MaskCarrier)


def mask_of(x: Any, given: Any = None) -> Any:
    """The mask that was given beside an array; without one that on the array, if any."""
    return x.mask if given is None and isinstance(x, MaskCarrier) else given


def unwrap(x: Any) -> tuple[Any, Any]:
    """Plain arrays and their masks; None in place of a list of masks if there is none."""
    if not carries(x):
        return x, None
    if isinstance(x, MaskCarrier):
        return x.view(np.ndarray), x.mask
    parts = [unwrap(part) if isinstance(part, MaskCarrier) else (part, None) for part in x]
    masks = [mask for _, mask in parts]
    return [part for part, _ in parts], None if all(mask is None for mask in masks) else masks
