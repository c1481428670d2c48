"""A dense layer over named axes."""

from __future__ import annotations

import string
from typing import Any

import numpy as np

from rnnx import activations, regularizers
from rnnx._typing import Array
from rnnx.initializers import VarianceScaling
from rnnx.layers.layer import Gradients, Pullback, weight_value
from rnnx.layers.ops.products import contracted
from rnnx.layers.weighted import Weighted


class EinsumDense(Weighted):
    """A product of the input with a kernel, over axes that are named by letters.

    Parameters
    ----------
    equation : str
        ``"abc,cd->abd"``: a letter for each axis of the input, of the kernel and of the output; the first one is the
        batch. ``...`` stands for any axes of the input and output.
    output_shape : int or tuple
        Of a sample; None for sizes that are those of the input. Axes that ``...`` stands for may be left out.
    activation : str or callable, optional
    bias_axes : str, optional
        The axes of the output that the bias has; without them there is none.
    kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, activity_regularizer,
    kernel_constraint, bias_constraint
        As in Keras 3.

    Raises
    ------
    ValueError
        If the equation cannot be read or does not fit the input.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> rnnx.layers.EinsumDense("abc,cd->abd", (None, 5), bias_axes="d")(np.ones((2, 7, 3))).shape
    (2, 7, 5)
    """

    fixed_when_built = Weighted.fixed_when_built | {"equation", "output_shape", "bias_axes"}
    supports_masking = False
    chosen = ("kernel", "bias")
    activation: Any
    kernel = weight_value(0)
    bias = weight_value(1)
    kernel_initializer: Any

    def __init__(
        self,
        equation: str,
        output_shape: Any,
        activation: Any = None,
        bias_axes: str | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        parts = equation.replace(" ", "").replace("->", ",").split(",") if isinstance(equation, str) else []
        letters = [part.replace("...", "", 1) for part in parts]
        if (
            len(parts) != 3
            or equation.count("->") != 1
            or any(len(set(part)) < len(part) or not set(part) <= set(string.ascii_letters) for part in letters)
            or not set(letters[1]) <= set(letters[0] + letters[2])
            or not set(letters[2]) <= set(letters[0] + letters[1])
            or "..." in parts[1]
        ):
            raise ValueError(f"EinsumDense: `equation` must name axes as 'abc,cd->abd' does, got {equation!r}")
        self.equation, self._parts = equation, parts
        sizes = tuple(output_shape) if isinstance(output_shape, (list, tuple)) else (output_shape,)
        if any(n is not None and (isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1) for n in sizes):
            raise ValueError(f"EinsumDense: `output_shape` must hold positive integers or None, got {output_shape!r}")
        self.partial_output_shape = tuple(None if n is None else int(n) for n in sizes)
        if bias_axes is not None and (not isinstance(bias_axes, str) or not set(bias_axes) <= set(letters[2])):
            raise ValueError(f"EinsumDense: `bias_axes` must name axes of the output, got {bias_axes!r}")
        self.bias_axes = bias_axes or None
        vars(self)["activation"] = activations.get(activation)
        self.choose(locals())
        if activity_regularizer is not None:
            vars(self)["activity_regularizer"] = regularizers.get(activity_regularizer)

    not_attributes = frozenset({"output_shape"})

    def arguments_now(self) -> dict[str, Any]:
        return {**super().arguments_now(), "output_shape": self.partial_output_shape}

    def _letters(self, rank: int) -> tuple[str, str, str]:
        """A letter for each axis of an input of so many axes, the kernel and the output."""
        given, kernel, result = self._parts
        more = rank - len(given.replace("...", ""))
        if more < 0 or (more and "..." not in given):
            raise ValueError(f"{self.name}: the input must have the axes {given!r} of `equation`, got {rank} axes")
        dots = "".join([c for c in string.ascii_letters if c not in self.equation][:more])
        return given.replace("...", dots), kernel, result.replace("...", dots)

    def _wanted_sizes(self, rank: int) -> tuple[Any, ...]:
        """`output_shape` with a size for each axis; those that ``...`` stands for may be left out, as in Keras."""
        wanted, (given, _, result) = self.partial_output_shape, self._parts
        more, place = rank - len(given.replace("...", "")), result.find("...")
        named = len(result.replace("...", "")) - (place != 0)
        if place < 0 or len(wanted) != named or more == (place == 0):
            return wanted
        dots = (None,) * (more - (place == 0))  # in front of everything they begin with the batch
        return (*wanted[: max(place - 1, 0)], *dots, *wanted[max(place - 1, 0) :])

    def _sizes(self, shape: Any) -> dict[str, Any]:
        """The size of each named axis."""
        given, kernel, result = self._letters(len(shape))
        wanted = self._wanted_sizes(len(shape))
        if len(wanted) != len(result) - 1:
            raise ValueError(
                f"{self.name}: `output_shape` must have a size for each of {len(result) - 1} axes, got {wanted}"
            )
        sizes = dict(zip(given, shape, strict=True))
        for letter, size in zip(result[1:], wanted, strict=True):
            if size is not None and sizes.get(letter) is None:
                sizes[letter] = size
            elif size is not None and sizes[letter] != size:
                raise ValueError(f"{self.name}: `output_shape` says {size} for axis {letter!r}, got {sizes[letter]}")
        missing = [letter for letter in kernel if sizes.get(letter) is None]
        if missing:
            raise ValueError(f"{self.name}: the size of axis {missing[0]!r} of `equation` must be known, got {shape}")
        return sizes

    def build(self, input_shape: Any) -> None:
        _, kernel, result = self._letters(len(input_shape))
        sizes = self._sizes(tuple(input_shape))
        self.add_weight("kernel", tuple(int(sizes[letter]) for letter in kernel), self._initial_kernel, chosen="kernel")
        if self.bias_axes:
            own = result[min(map(result.index, self.bias_axes)) :]
            shape = tuple(int(sizes[letter]) if letter in self.bias_axes else 1 for letter in own)
            self.add_weight("bias", shape, chosen="bias")

    def _initial_kernel(self, shape: tuple[int, ...], dtype: Any = None) -> Array:
        """The kernel; what scales it by its fans is told which axes are inputs and which outputs."""
        initializer = self.kernel_initializer
        if not isinstance(initializer, VarianceScaling) or None not in (
            initializer.input_axes,
            initializer.output_axes,
        ):
            return np.asarray(initializer(shape, dtype=dtype))
        result = self._parts[2]
        outputs = [axis for axis, letter in enumerate(self._parts[1]) if letter in result]
        return initializer.between(shape, dtype, [k for k in range(len(shape)) if k not in outputs], outputs)

    def _check(self, shape: Any) -> None:
        sizes = self._sizes(tuple(shape))
        own = dict(zip(self._parts[1], self._weights[0].shape, strict=True)) if self._weights else {}
        if any(sizes[letter] != size for letter, size in own.items()):
            wanted = ", ".join(f"{letter}={size}" for letter, size in own.items())
            raise ValueError(f"{self.name}: the input must have the sizes {wanted} of the kernel, got {tuple(shape)}")

    def compute_output_shape(self, input_shape: Any) -> Any:
        self._check(input_shape)
        sizes = self._sizes(tuple(input_shape))
        return tuple(sizes[letter] for letter in self._letters(len(input_shape))[2])

    def forward(
        self, x: Array, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        self._check(x.shape)
        given, letters, result = self._letters(x.ndim)
        kernel = self._weights[0].array
        a = contracted([given, letters], [x, kernel], result)
        if self.bias_axes:
            a = a + self._weights[1].array
        y = self.activation(a)
        if not keep:
            return y, None

        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            da = self.activation.vjp(a, y, self.cast(dy))
            dweights: list[Array | None] = [None] * len(self._weights)
            if self.trainable:
                dweights[0] = contracted([given, result], [x, da], letters)
                if self.bias_axes:
                    shape = self._weights[1].shape
                    before = tuple(range(da.ndim - len(shape)))
                    ones = tuple(k + len(before) for k, n in enumerate(shape) if n == 1)
                    dweights[1] = da.sum(axis=(*before, *ones)).reshape(shape)
            return Gradients(contracted([result, letters], [da, kernel], given) if need_dx else None, dweights)

        return y, pullback

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(
            equation=self.equation, output_shape=self.partial_output_shape, bias_axes=self.bias_axes,
            activation=self.activation.serialize(),
            activity_regularizer=regularizers.serialize(self.activity_regularizer),
        )  # fmt: skip
        return config
