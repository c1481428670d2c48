"""The ``build`` of a layer, which runs once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from rnnx.layers import graph


def build_once(build: Callable[..., None], owner: Any = None) -> Callable[..., None]:
    """Build once, whoever asks first and from however many threads; a failed build leaves no weights behind.

    ``owner`` is the class whose method it is: whose weights are being made; `Layer.build` makes none.
    """

    @functools.wraps(build)
    def building(self: Any, *shapes: Any, **by_name: Any) -> None:
        if self.built_by_call:  # a model whose weights are all of layers inside, which `call` builds
            build(self, *shapes, **by_name)
            return
        with self._build_lock:
            if self.built or "_build_ran" in vars(self):
                return
            if self._building:  # a subclass calls the build of its base
                outer, made = self._building, vars(self)
                made["_building"] = owner or object
                try:
                    build(self, *shapes, **by_name)
                finally:
                    made["_building"] = outer
                return
            before, made = list(self._weights), vars(self)
            made["_building"] = owner or object
            token = graph.tracing.set(None)  # to the `call` that is traced the layer is finished
            try:
                build(self, *shapes, **by_name)
                if self._initial_weights is not None:
                    self.set_weights(self._initial_weights)
            except BaseException:
                self._weights = before
                raise
            finally:
                made["_building"] = False
                graph.tracing.reset(token)
            made["_build_ran"] = True
            made["built"] = not self.overrides_call or self.is_ready()

    return building
