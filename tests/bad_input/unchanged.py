"""What a refused call must leave as it was: weights, states, versions and the counters of all noise."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest


def snapshot(thing: Any) -> list[Any]:
    """Everything a call could have changed in a layer or model, as bytes."""
    found: list[Any] = [(w.name, w.value.dtype.str, w.value.shape, w.value.tobytes(), w.version) for w in thing.weights]
    found += [tuple(generator.state) for generator in thing.seed_generators()]
    for layer in [thing, *thing.sublayers]:
        states = getattr(layer, "states", None)
        found.append(None if states is None else [np.asarray(s).tobytes() for s in states])
    if getattr(thing, "optimizer", None) is not None:
        found.append(sorted((name, np.asarray(a).tobytes()) for name, a in thing.optimizer.get_state().items()))
    return found


@contextmanager
def unchanged(*things: Any) -> Iterator[None]:
    """The block leaves these layers or models as they are."""
    before = [snapshot(thing) for thing in things]
    yield
    assert [snapshot(thing) for thing in things] == before


def refuse(call: Callable[[], Any], kind: type[BaseException] | tuple[type[BaseException], ...], *words: str) -> None:
    """The call raises exactly such an error, and its message has all the words."""
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    missing = [word for word in words if not re.search(re.escape(word), message)]
    assert not missing, f"{message!r} does not say {missing}"
    assert type(caught.value).__module__ in ("builtins", "rnnx.saving"), type(caught.value)
