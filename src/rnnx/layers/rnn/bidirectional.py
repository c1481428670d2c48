"""Both directions of time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx import _kernels
from rnnx._typing import Array
from rnnx.dropout import SeedGenerator
from rnnx.layers.layer import Gradients, Layer, Pullback, walk
from rnnx.layers.registry import layer_config, layer_from_config
from rnnx.layers.rnn.sequence import Recurrent, check_gradients
from rnnx.layers.rnn.stacked import ListsOfStates, as_cells_say, in_one_list
from rnnx.runtime.parallel import side_by_side

MERGE_MODES = ("concat", "sum", "mul", "ave", None)
REPEATING = ("keras1", "keras2.2", "keras2.3")  # before tf.keras 2, padding repeated the output in both directions
PRODUCTS_WORTH_A_THREAD = 10_000_000  # in each direction; waking a thread of Python costs some 50 microseconds
OTHER_DIRECTION = 0x9E3779B9  # keeps the noise of the two directions apart


class Bidirectional(ListsOfStates):
    """A recurrent layer read forwards, and a copy of it read backwards.

    Outputs at masked steps are 0 with ``return_sequences`` (with the ``compat`` of a Keras before tf.keras 2 they
    repeat the output before them); each direction sees what it would see of the unpadded row.

    Parameters
    ----------
    layer : LSTM, GRU, SimpleRNN or RNN
        Must not itself go backwards. It is copied, not used.
    merge_mode : {"concat", "sum", "mul", "ave", None}
        How the outputs are joined; None gives a list of two.
    weights : list of arrays, optional
    backward_layer : layer, optional
        Another layer for the backward direction; it must go backwards.
    **kwargs
        ``name``, ``trainable``, ``input_shape``. The dtype is that of the layer.

    Raises
    ------
    ValueError
        If a layer is not recurrent, goes the wrong way, or the two do not fit together.

    Notes
    -----
    In a call ``initial_state`` is a list, the first half for the forward direction; ``dropout_masks`` and what
    ``return_masks`` returns are pairs (forward, backward). With ``return_state`` the states of the forward direction
    come first. Weights: those of the forward layer, then those of the backward layer.

    Unlike Keras the two directions draw different dropout masks also when the layer has a seed, except with the
    ``"keras"`` stream.

    References
    ----------
    .. [1] M. Schuster, K. Paliwal, "Bidirectional recurrent neural networks", IEEE Trans. Signal Processing 45, 1997.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.Bidirectional(rnnx.layers.LSTM(4))(np.zeros((2, 7, 3))).shape
    (2, 8)
    """

    fixed_when_built = ListsOfStates.fixed_when_built | {"backward_layer"}
    not_attributes = frozenset({"layer", "dtype"})

    def __init__(
        self,
        layer: Any,
        merge_mode: str | None = "concat",
        weights: Any = None,
        backward_layer: Any = None,
        **kwargs: Any,
    ):
        if not isinstance(layer, Layer) or not hasattr(layer, "return_sequences"):
            raise ValueError(f"Bidirectional: a recurrent layer is needed, got {type(layer).__name__}")
        if merge_mode not in MERGE_MODES:
            raise ValueError(f"Bidirectional: `merge_mode` must be one of {MERGE_MODES}, got {merge_mode!r}")
        if getattr(layer, "go_backwards", False):
            raise ValueError("Bidirectional: `layer` must not go backwards; its copy will")
        if backward_layer is not None:
            for name in ("return_sequences", "return_state", "stateful"):
                if getattr(layer, name) != getattr(backward_layer, name):
                    raise ValueError(f"Bidirectional: `layer` and `backward_layer` differ in `{name}`")
            if not backward_layer.go_backwards:
                raise ValueError("Bidirectional: `backward_layer` must have go_backwards=True")
        kwargs.setdefault("input_shape", layer.given_input_shape)
        if kwargs["input_shape"] is None:
            del kwargs["input_shape"]
        super().__init__(weights=weights, **{**kwargs, "dtype": layer.dtype})
        self.merge_mode = merge_mode
        self._custom_backward = backward_layer is not None
        self.forward_layer = _copy(layer, "forward_", False)
        self.backward_layer = _copy(backward_layer or layer, "backward_", True, apart=not self._custom_backward)
        self.takes_lookups = all(layer.takes_lookups and not layer.overrides_call for layer in self._directions)

    def arguments_now(self) -> dict[str, Any]:
        found = {**super().arguments_now(), "layer": self.forward_layer}
        return found if self._custom_backward else {**found, "backward_layer": None}

    @property
    def _directions(self) -> tuple[Any, Any]:
        return self.forward_layer, self.backward_layer

    @property
    def inner_layers(self) -> list[Layer]:
        return list(self._directions)

    @property
    def return_sequences(self) -> bool:
        return bool(self.forward_layer.return_sequences)

    @property
    def return_state(self) -> bool:
        return bool(self.forward_layer.return_state)

    @property
    def stateful(self) -> bool:
        return bool(self.forward_layer.stateful)

    def build(self, input_shape: Any) -> None:
        self.forward_layer.build(input_shape)
        self.backward_layer.build(input_shape)

    def prepare(self, x: Any) -> Any:
        first = self.forward_layer
        x = (first.computation if first.overrides_call else first).prepare(x)
        if not self.built:
            self.build((None, *x.shape[1:]))
        return x

    def leaves_traces(self) -> bool:
        a, b = self.forward_layer, self.backward_layer
        if a.overrides_call or b.overrides_call:
            return True
        return bool(a.leaves_traces() or b.leaves_traces())

    @property
    def gives_lists(self) -> bool:
        """Whether the layers in it are of a stack of cells, and give the states of each cell in a list of its own."""
        return getattr(self.forward_layer, "gives_lists", False)

    def by_cell(self, y: list[Any]) -> list[Any]:
        count, cell = 2 if self.merge_mode is None else 1, self.forward_layer.cell
        half = (len(y) + count) // 2
        return [*y[:count], *as_cells_say(cell, y[count:half]), *as_cells_say(cell, y[half:])]

    def flat_again(self, dy: list[Any]) -> list[Any]:
        count, cell = 2 if self.merge_mode is None else 1, self.forward_layer.cell
        half = count + len(cell.cells)
        if len(dy) != 2 * half - count:
            return dy
        return [*dy[:count], *in_one_list(cell, dy[count:half]), *in_one_list(cell, dy[half:])]

    def forward(
        self,
        x: Array,
        *,
        mask: Any = None,
        training: bool = False,
        keep: bool = False,
        initial_state: Any = None,
        dropout_masks: Any = None,
        return_masks: bool = False,
        **call: Any,
    ) -> tuple[Any, Pullback | None]:
        """Run both directions; see the notes of the class."""
        if dropout_masks is not None and (not isinstance(dropout_masks, (list, tuple)) or len(dropout_masks) != 2):
            raise TypeError(
                f"{self.name}: `dropout_masks` must be a pair (both directions), got {type(dropout_masks).__name__}"
            )
        halves: list[Any] = [None, None]
        if initial_state is not None:
            initial = list(initial_state) if isinstance(initial_state, (list, tuple)) else [initial_state]
            if len(initial) % 2:
                raise ValueError(
                    f"{self.name}: `initial_state` must be a list with an even number of states, got {len(initial)}"
                )
            halves = [initial[: len(initial) // 2], initial[len(initial) // 2 :]]

        joined, places = self._one_array(x)
        directions = [layer.computation if layer.overrides_call else layer for layer in self._directions]
        given = (None, None) if dropout_masks is None else dropout_masks

        def direction(k: int) -> Any:
            if self._directions[k].overrides_call:  # takes what its `call` takes, and draws its own noise
                own = {"initial_state": halves[k], "dropout_masks": given[k], **call}
                y, back = directions[k].forward(x, mask=mask, training=training, keep=keep, **own)
                return (y, None), back
            return directions[k].forward(
                x,
                mask=mask,
                training=training,
                keep=keep,
                initial_state=halves[k],
                dropout_masks=given[k],
                return_masks=True,
                **places[k],
                **call,
            )

        ((a, a_masks), a_pullback), ((b, b_masks), b_pullback) = self._both(direction, x)
        masks, pullbacks = (a_masks, b_masks), (a_pullback, b_pullback)
        sequences, with_state = self.return_sequences, self.return_state
        states: list[Any] = []
        if with_state:
            (a, *states), (b, *others) = a, b
            states += others
        outputs = [a, b[:, ::-1] if sequences else b]
        merged = self._merge(outputs) if joined is None else joined
        several = with_state or self.merge_mode is None
        y = [*(merged if isinstance(merged, list) else [merged]), *states] if several else merged

        def pullback(dy: Any, *, need_dx: bool = True) -> Gradients:
            count = 2 if self.merge_mode is None else 1
            parts = check_gradients(self.name, dy, count + len(states)) if several else [dy]
            douts = self._split(parts[:count], outputs)
            if sequences and douts[1] is not None:
                douts[1] = douts[1][:, ::-1]
            dstates, half = parts[count:], len(states) // 2
            sides = (dstates[:half], dstates[half:])

            def back(k: int) -> Any:
                return pullbacks[k]([douts[k], *sides[k]] if with_state else douts[k], need_dx=need_dx)

            grads = self._both(back, x)
            dinitial = tuple(
                part
                for g in grads
                for part in (g.dinitial_state if isinstance(g.dinitial_state, tuple) else (g.dinitial_state,))
            )
            dweights = grads[0].dweights + grads[1].dweights
            if not self.trainable:
                dweights = [None] * len(dweights)
            return Gradients(grads[0].dx + grads[1].dx if need_dx else None, dweights, dinitial)

        return ((y, masks) if return_masks else y), pullback if keep else None

    def _one_array(self, x: Array) -> tuple[Array | None, tuple[dict[str, Array], dict[str, Array]]]:
        """An array for the outputs of both directions side by side, and what tells each where to put its own."""
        a, b = self.forward_layer, self.backward_layer
        if self.merge_mode != "concat" or not (isinstance(a, Recurrent) and isinstance(b, Recurrent)):
            return None, ({}, {})
        if not a.return_sequences or a.overrides_call or b.overrides_call:
            return None, ({}, {})
        joined = _kernels.empty((x.shape[0], x.shape[1], a.units + b.units), a.dtype)
        return joined, ({"out": joined[:, :, : a.units]}, {"out": joined[:, ::-1, a.units :]})

    def _both(self, direction: Callable[[int], Any], x: Array) -> tuple[Any, Any]:
        """Results of both directions, which run side by side if they are compiled, apart and worth it."""
        a, b = self.forward_layer, self.backward_layer
        if isinstance(a, Recurrent) and isinstance(b, Recurrent) and not (a.overrides_call or b.overrides_call):
            kernel, recurrent = a._weights[:2]
            worth_it = x.shape[0] * x.shape[1] * (kernel.array.size + recurrent.array.size) >= PRODUCTS_WORTH_A_THREAD
            if worth_it and a.seed_generator is not b.seed_generator and a.packed()[1] is not None:
                return side_by_side(lambda: direction(0), lambda: direction(1))
        return direction(0), direction(1)

    def _merge(self, outputs: list[Array]) -> Any:
        a, b = outputs
        if self.merge_mode == "concat":
            return np.concatenate([a, b], axis=-1)
        if self.merge_mode == "sum":
            return a + b
        if self.merge_mode == "ave":
            return (a + b) / 2
        if self.merge_mode == "mul":
            return a * b
        return [a, b]

    def _split(self, dy: list[Any], outputs: list[Array]) -> list[Any]:
        """Gradients of the two outputs."""
        if self.merge_mode is None:
            return [None if d is None else self.cast(d) for d in dy]
        if dy[0] is None:
            return [None, None]
        d, (a, b) = self.cast(dy[0]), outputs
        if self.merge_mode == "concat":
            return [d[..., : a.shape[-1]], d[..., a.shape[-1] :]]
        if self.merge_mode == "ave":
            return [d / 2, d / 2]
        return [d * b, d * a] if self.merge_mode == "mul" else [d, d]

    def compute_output_shape(self, input_shape: Any) -> Any:
        shapes = [layer.computation.compute_output_shape(input_shape) for layer in self._directions]
        first = [shape if isinstance(shape, list) else [shape] for shape in shapes]
        output: list[Any] = [first[0][0]]
        if self.merge_mode == "concat":
            output = [(*first[0][0][:-1], first[0][0][-1] + first[1][0][-1])]
        elif self.merge_mode is None:
            output = [first[0][0], first[1][0]]
        found = output + first[0][1:] + first[1][1:]
        return found if self.return_state or self.merge_mode is None else found[0]

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        output = mask if self.return_sequences else None
        return [output, output] if self.merge_mode is None else output

    def sample_masks(self, batch: int, timesteps: int, *, training: bool = True) -> tuple[Any, Any]:
        """Draw the dropout masks of one call: those of the forward and of the backward direction."""
        forward, backward = (layer.sample_masks(batch, timesteps, training=training) for layer in self._directions)
        return forward, backward

    def reset_state(self) -> None:
        """Forget the states of a stateful layer: the next call starts from zeros."""
        for layer in self._directions:
            layer.reset_state()

    def reset_states(self, states: Any = None) -> None:
        """Forget the states of a stateful layer, or set them: a list, the first half for the forward direction."""
        if states is None:
            self.reset_state()
            return
        half, before = len(states) // 2, self.forward_layer.states
        self.forward_layer.reset_states(list(states[:half]))
        try:
            self.backward_layer.reset_states(list(states[half:]))
        except BaseException:
            self.forward_layer.states = before
            raise

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "merge_mode": self.merge_mode, "layer": layer_config(self.forward_layer)}
        if self._custom_backward:
            config["backward_layer"] = layer_config(self.backward_layer)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        config = dict(config)
        for name in ("layer", "backward_layer"):
            if config.get(name) is not None:
                config[name] = layer_from_config(config[name])
        return cls(**config)


def _copy(layer: Any, prefix: str, backwards: bool, apart: bool = False) -> Any:
    """The layer of one direction, with fresh weights and, for the second one, noise of its own."""
    config = layer.get_config()
    config["name"] = prefix + config["name"].removeprefix("forward_").removeprefix("backward_")
    config["go_backwards"] = backwards
    config["zero_output_for_mask"] = config["return_sequences"] and config.get("compat") not in REPEATING
    copy = type(layer).from_config(config)
    if hasattr(layer, "use_cudnn"):  # of no effect, and so not part of a configuration
        copy.use_cudnn = layer.use_cudnn
    noisy: list[Any] = [part for part in walk(copy) if hasattr(part, "seed_generator")]
    for part in noisy if apart else ():
        if part.seed is not None and part.seed_generator.stream != "keras":
            part.seed_generator = SeedGenerator((part.seed_generator.seed + OTHER_DIRECTION) % 2**32)
    return copy
