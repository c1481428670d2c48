"""Weights, activations and dropout of a recurrent cell: what a layer and a single cell share."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx import activations
from rnnx._typing import Array
from rnnx.dropout import (
    DROPOUT_GATES,
    MODES,
    PROFILES,
    WEIGHT_NOISE,
    DropoutMasks,
    check_choice,
    check_noise_shape,
    check_rate,
    check_zoneout,
    rounding_steps,
    sample_masks,
)
from rnnx.dropout.noise import current_passes
from rnnx.layers.checks import generator_of, seed_config
from rnnx.layers.layer import Weight, weight_value
from rnnx.layers.weighted import Weighted

MOST_BYTES_OF_TABLE = 1 << 26  # of the products of an Embedding's rows


def activation_of(identifier: Any, compat: str) -> activations.Activation:
    """Look an activation up; before Keras 3, ``hard_sigmoid`` meant ``clip(0.2 x + 0.5)``."""
    if identifier == "hard_sigmoid" and not str(compat).startswith("keras3"):
        identifier = "hard_sigmoid_keras2"
    return activations.get(identifier)


def constructor_arguments(scope: dict[str, Any]) -> dict[str, Any]:
    """What a constructor was called with, from its ``locals()``."""
    own = {name: value for name, value in scope.items() if name not in ("self", "__class__", "kwargs")}
    return {**own, **scope["kwargs"]}


class RecurrentWeights(Weighted):
    """Weights, activations and dropout of one recurrent cell: what the layer and the single cell share.

    The layer's constructor says the names of the arguments and their defaults, see `constructor_arguments`; down here
    all of them are given.
    """

    chosen = ("kernel", "recurrent", "bias")
    fixed_when_built = Weighted.fixed_when_built | {"units", "use_bias", "recurrent_blocks"}
    units: int
    use_bias: bool
    activation: Any
    recurrent_activation: Any
    dropout: float
    recurrent_dropout: float
    noise_shape: Any
    recurrent_noise_shape: Any
    dropout_gates: str
    recurrent_dropout_mode: str
    weight_noise: str | None
    zoneout: Any
    compat: str
    seed: Any
    seed_generator: Any
    _has_noise: bool
    _samples_in_inference: bool
    bias_initializer: Any
    recurrent_initializer: Any
    recurrent_blocks = 1
    cell_kind = ""
    gates = 0
    state_count = 1
    core: Any = None
    _memo: tuple[Any, ...] = ((), None, None, None)
    _lookups: tuple[Any, Any, int] = ((None, None, None), None, 0)  # of `table_of`: what it is made of, it, ids so far

    def __init__(
        self,
        *,
        units: int,
        activation: Any,
        use_bias: bool,
        dropout: float,
        recurrent_dropout: float,
        seed: Any,
        noise_shape: Any,
        recurrent_noise_shape: Any,
        dropout_gates: str,
        recurrent_dropout_mode: str,
        zoneout: Any,
        compat: str,
        recurrent_blocks: int,
        weight_noise: str | None,
        **kwargs: Any,
    ):
        who = type(self).__name__
        if isinstance(units, bool) or not isinstance(units, (int, np.integer)) or units < 1:
            raise ValueError(f"{who}: `units` must be a positive integer, got {units!r}")
        if (implementation := kwargs.pop("implementation", 2)) not in (0, 1, 2):
            raise ValueError(f"{who}: `implementation` must be 0, 1 or 2 (it has no effect), got {implementation!r}")
        blocks = recurrent_blocks
        if isinstance(blocks, bool) or not isinstance(blocks, (int, np.integer)) or blocks < 1 or units % blocks:
            raise ValueError(
                f"{who}: `recurrent_blocks` must be a positive integer that divides units={units}, got {blocks!r}"
            )
        check_choice(who, "dropout_gates", dropout_gates, DROPOUT_GATES)
        check_choice(who, "recurrent_dropout_mode", recurrent_dropout_mode, MODES)
        check_choice(who, "compat", compat, PROFILES)
        if weight_noise is not None:
            check_choice(who, "weight_noise", weight_noise, (None, *WEIGHT_NOISE))
        zoneouts = check_zoneout(who, zoneout, has_cell=self.state_count == 2)
        self.choose(kwargs)  # first: initializers and then the layer draw their seeds
        generator = generator_of(seed)
        noisy = bool(dropout or recurrent_dropout or any(zoneouts))
        vars(self).update(
            units=int(units),
            recurrent_blocks=int(blocks),
            activation=activation_of(activation, compat),
            use_bias=bool(use_bias),
            dropout=check_rate(who, "dropout", dropout),
            recurrent_dropout=check_rate(who, "recurrent_dropout", recurrent_dropout),
            noise_shape=None if noise_shape is None else check_noise_shape(who, noise_shape),
            recurrent_noise_shape=None
            if recurrent_noise_shape is None
            else check_noise_shape(who, recurrent_noise_shape, "recurrent_noise_shape"),
            dropout_gates=dropout_gates,
            recurrent_dropout_mode=recurrent_dropout_mode,
            weight_noise=weight_noise,
            zoneout=tuple(zoneout) if isinstance(zoneout, (list, tuple)) else zoneout,
            compat=compat,
            seed_generator=generator,
            seed=None if seed is None else generator.seed,
            _has_noise=noisy,
            # Inference takes the expectation of zoneout, and a stream of Keras moves on in it.
            _samples_in_inference=any(zoneouts) or (noisy and generator.stream == "keras"),
        )
        super().__init__(**kwargs)

    def note_change(self, name: str) -> None:
        vars(self).pop("_memo", None)  # it holds the activations
        super().note_change(name)

    @property
    def state_size(self) -> Any:
        """Width of the state, or of each part of it."""
        return self.units if self.state_count == 1 else [self.units] * self.state_count

    @property
    def output_size(self) -> int:
        return self.units

    def bias_shape(self) -> tuple[int, ...]:
        """Shape of the bias."""
        return (self.gates * self.units,)

    def build(self, input_shape: Any) -> None:
        features = input_shape[-1]
        if features is None:
            raise ValueError(f"{self.name}: the last axis of the input must be known, got shape {tuple(input_shape)}")
        width = self.gates * self.units
        self.add_weight("kernel", (int(features), width), chosen="kernel")
        rows, initial = self.units // self.recurrent_blocks, None
        if self.recurrent_blocks > 1:
            initial = self.initial_blocks
        self.add_weight("recurrent_kernel", (rows, width), initial, chosen="recurrent")
        if self.use_bias:
            self.add_weight("bias", self.bias_shape(), self.initial_bias(), chosen="bias")

    def initial_bias(self) -> Any:
        """Initializer of the bias."""
        return self.bias_initializer

    def initial_blocks(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """A block-diagonal recurrent kernel: each block as that of a layer of its units alone."""
        size = shape[0]
        blocks = [
            np.asarray(self.recurrent_initializer((size, self.gates * size), dtype=dtype))
            for _ in range(self.recurrent_blocks)
        ]
        return np.stack([block.reshape(size, self.gates, size) for block in blocks], axis=2).reshape(shape)

    kernel = weight_value(0)
    recurrent_kernel = weight_value(1)
    bias = weight_value(2)

    def make_params(self, *weights: Array) -> Any:
        """The functional core's view of the weights."""
        raise NotImplementedError(f"{type(self).__name__} has no parameters")

    def packed(self) -> tuple[Any, Any]:
        """Parameters and their packed form, made once for each version of the weights."""
        known, mode, params, packed = self._memo
        if mode == self.quantization_mode:
            for weight, version in known:
                if weight.version != version or (weight.lent is not None and weight.current_version() != version):
                    break
            else:
                if params is not None:
                    return params, packed
        # Before the arrays: see `Weight`.
        known = [(w, w.version if w.lent is None else w.current_version()) for w in self._weights]
        mode = self.quantization_mode
        params = self.make_params(*(weight.array for weight in self._weights))
        packed = self.core.pack(params, mode or "full")
        vars(self)["_memo"] = (known, mode, params, packed)
        return params, packed

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({"weight_noise": None, **state})  # 0.1.0 did not have it

    def unpacked(self) -> tuple[Any, Any]:
        """Parameters, and None for their packed form: for a call with noise on the weights, which packs its own."""
        return self.make_params(*(weight.array for weight in self._weights)), None

    def table_of(self, embedding: Any, tokens: int, packed: Any) -> Array | None:
        """What the input weights make of every row of an Embedding, if that pays: an id costs a copy then.

        The table is made when as many ids as it has rows have gone through these weights without it, and kept as long
        as they and the embeddings stay. It has the bits of the product that it stands for.

        Parameters
        ----------
        embedding : Embedding
        tokens : int
            Ids in the call at hand.
        packed : Packed
            Of this layer, as it is.

        Returns
        -------
        array, or None
        """
        weight = embedding._weights[0]
        version, rows = weight.current_version(), weight.array  # version first: see `Weight`
        if rows.dtype != self.dtype or len(rows) * packed.table_bytes > MOST_BYTES_OF_TABLE:
            return None
        known, table, seen = self._lookups
        if known[0] is not packed or known[1] is not rows or known[2] != version:
            known, table, seen = (packed, rows, version), None, 0
        if table is None:
            seen += tokens
            if seen >= len(rows):
                table = packed.table(rows)
            vars(self)["_lookups"] = (known, table, seen)
        return table

    @property
    def quantized_weights(self) -> list[Weight] | None:
        return None if self.overrides_call else self._weights[:2]

    def sample_masks(self, batch: int, timesteps: int, *, training: bool = True) -> DropoutMasks | None:
        """Draw the dropout masks of one call, as ``layer(x, training=True)`` would.

        Parameters
        ----------
        batch, timesteps : int
        training : bool
            Without it only the expectation of zoneout is returned.

        Returns
        -------
        DropoutMasks or None
            None if nothing is dropped.
        """
        if not self._has_noise and self.weight_noise is None:
            return None
        if not self.built:
            raise ValueError(f"{self.name}: build the layer first (call it once, or give it an input shape)")
        return sample_masks(
            self.cell_kind,
            batch,
            timesteps,
            self._weights[0].shape[0],
            self.units,
            dropout=self.dropout,
            recurrent_dropout=self.recurrent_dropout,
            noise_shape=self.noise_shape,
            recurrent_noise_shape=self.recurrent_noise_shape,
            dropout_gates=self.dropout_gates,
            recurrent_dropout_mode=self.recurrent_dropout_mode,
            zoneout=self.zoneout,
            compat=self.compat,
            training=training,
            seed_generator=self.seed_generator,
            dtype=self.dtype,
            cudnn_able=PROFILES[self.compat].fresh_steps and self.cudnn_able(),
            recurrent_blocks=self.recurrent_blocks,
            weight_steps=self.weight_steps() if training and self.weight_noise is not None else None,
        )

    def weight_steps(self) -> tuple[Array, Array] | None:
        """Steps of `weight_noise` in the columns of both kernels; None where it is off.

        It is off without the option, on weights that are rounded already, and in the passes of ``predict_mc``: those
        sample what the network does not know, and the network that they ask is the one without noise on its weights.
        """
        if self.weight_noise is None or self.quantization_mode is not None:
            return None
        if (passes := current_passes.get()) is not None and not passes.rounds_weights:
            return None
        kernel, recurrent = (rounding_steps(w.array, self.weight_noise) for w in self._weights[:2])
        return kernel, recurrent

    def cudnn_able(self) -> bool:
        """Whether tf.keras would have used its fast path, which decides its dropout masks."""
        return self.activation.name == "tanh" and self.use_bias

    def cast_states(self, states: Any, batch: int) -> Any:
        """Initial states (Keras order) as the functional core takes them."""
        parts = list(states) if isinstance(states, (list, tuple)) else [states]
        if len(parts) != self.state_count:
            raise ValueError(f"{self.name}: `initial_state` must have {self.state_count} part(s), got {len(parts)}")
        arrays = tuple(self.cast(part) for part in parts)
        for array in arrays:
            if array.shape != (batch, self.units):
                raise ValueError(
                    f"{self.name}: `initial_state` must have shape (batch, units) = {(batch, self.units)}, "
                    f"got {array.shape}"
                )
        return arrays if self.state_count > 1 else arrays[0]

    def masks_of(self, x: Array, training: bool, keep: bool, dropout_masks: DropoutMasks | None) -> DropoutMasks | None:
        """The dropout masks of a call on ``x``: those given, or newly drawn ones; checks that gradients can be had."""
        if keep:
            self.check_trainable()
        if training and dropout_masks is not None:
            if not isinstance(dropout_masks, DropoutMasks):
                raise TypeError(
                    f"{self.name}: `dropout_masks` must be a DropoutMasks, got {type(dropout_masks).__name__}"
                )
            return dropout_masks
        draws = self._has_noise or self.weight_noise is not None if training else self._samples_in_inference
        return self.sample_masks(x.shape[0], x.shape[1], training=training) if draws else None

    def run(
        self,
        x: Array,
        *,
        initial_state: Any = None,
        training: bool = False,
        keep: bool = False,
        dropout_masks: DropoutMasks | None = None,
        **options: Any,
    ) -> tuple[Any, DropoutMasks | None]:
        """Run over whole sequences; the functional core's result and the masks that were applied.

        Parameters
        ----------
        x : array of shape (batch, timesteps, features)
        initial_state : array or list of arrays of shape (batch, units), optional
        training : bool
            Whether noise is applied.
        keep : bool
            Whether the result has what ``backward`` needs.
        dropout_masks : DropoutMasks, optional
            Used in training instead of drawing.
        **options
            Of ``forward`` in `rnnx.functional`.
        """
        if initial_state is not None:
            initial_state = self.cast_states(initial_state, len(x))
        masks = self.masks_of(x, training, keep, dropout_masks)
        params, packed = self.packed() if masks is None or not masks.on_weights else self.unpacked()
        run = self.core.forward(
            params, x, initial_state=initial_state, masks=masks, training=keep, packed=packed, **options
        )
        return run, masks

    def weight_gradients(self, dparams: Any) -> list[Array | None]:
        """Gradients in ``get_weights`` order."""
        if dparams is None:
            return [None] * len(self._weights)
        found = [dparams.kernel, dparams.recurrent_kernel, dparams.bias]
        return [g if w.trainable else None for g, w in zip(found[: len(self._weights)], self._weights, strict=True)]

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(units=self.units, activation=self.activation.serialize(), use_bias=self.use_bias)
        for name in (
            "dropout", "recurrent_dropout", "noise_shape", "recurrent_noise_shape", "dropout_gates",
            "recurrent_dropout_mode", "zoneout", "compat", "recurrent_blocks", "weight_noise",
        ):  # fmt: skip
            config[name] = getattr(self, name)
        return {**config, "seed": seed_config(self.seed, self.seed_generator)}
