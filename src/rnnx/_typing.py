"""What the annotations of the package mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # of float32 or float64, unless a docstring says otherwise
Mask = NDArray[np.bool_]  # True = use the step
Shape = tuple[int | None, ...]  # batch first; None: not known yet
State = Array | tuple[Array, ...]  # h, or (h, c)
ActivationLike = str | Callable[..., Any] | None
