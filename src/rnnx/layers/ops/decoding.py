"""Label sequences from what a network says at each step, and what given ones cost."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array, Shape
from rnnx.functional import _ctc
from rnnx.layers.graph import is_symbolic
from rnnx.layers.ops.operation import gradient_of, operation

NO_LABEL = -1


def _loss_shape(target: Any, output: Any, target_length: Any, output_length: Any, mask_index: int) -> Shape:
    sizes = [part.shape for part in (target, output, target_length, output_length)]
    known = {shape[0] for shape in sizes if shape and shape[0] is not None}
    if [len(shape) for shape in sizes] != [2, 3, 1, 1] or len(known) > 1:
        raise ValueError(
            "labels of shape (batch, length), logits of shape (batch, timesteps, classes) and two lengths of shape "
            f"(batch,) are needed, got {', '.join(map(str, sizes))}"
        )
    if sizes[1][1] == 0:
        raise ValueError("there must be at least one step, got 0")
    classes = sizes[1][2]
    if classes is not None and not -classes <= mask_index < classes:
        raise ValueError(f"`mask_index` must be one of {classes} classes, got {mask_index}")
    return (known.pop() if known else None,)


def _loss_parts(target: Array, output: Array, target_length: Array, output_length: Array, mask_index: int) -> Any:
    """What `rnnx.functional._ctc.ctc` takes, and the steps that count."""
    lengths = []
    for name, given, most in (
        ("target_length", target_length, target.shape[1]),
        ("output_length", output_length, output.shape[1]),
    ):
        length = given.astype(np.int64)
        if (length != given).any() or (length < 0).any() or (length > most).any():
            raise ValueError(f"ops.ctc_loss: `{name}` must be whole numbers in 0..{most}, got {given.tolist()}")
        lengths.append(length)
    blank, classes = mask_index % output.shape[2], output.shape[2]
    there = np.arange(target.shape[1]) < lengths[0][:, None]
    labels = np.where(there, target, 0).astype(np.int64)
    wrong = there & ((labels != target) | (labels < 0) | (labels >= classes) | (labels == blank))
    if wrong.any():
        raise ValueError(
            f"ops.ctc_loss: labels must lie in 0..{classes - 1} and not be the blank, {blank}; got {target[wrong][0]}"
        )
    valid = np.arange(output.shape[1]) < lengths[1][:, None]
    return labels, lengths[0], _ctc.counted(output, valid, blank), blank


@operation(
    "target", "output", "target_length", "output_length", alike=("output",), floats=True, shape=_loss_shape
)  # fmt: skip
def ctc_loss(target: Any, output: Any, target_length: Any, output_length: Any, mask_index: int = 0) -> Any:
    """Minus the logarithm of the probability of labels without places, over all ways to spread them over the steps.

    Parameters
    ----------
    target : int array of shape (batch, length)
        Labels; those behind ``target_length`` do not count.
    output : array of shape (batch, timesteps, classes)
        Logits, as of a layer without an activation.
    target_length : int array of shape (batch,)
        How many labels each row has.
    output_length : int array of shape (batch,)
        How many steps of each row count.
    mask_index : int
        The class that is the blank.

    Returns
    -------
    array of shape (batch,)
        Infinite where the labels do not fit into the steps. Gradients go to ``output``.

    Raises
    ------
    ValueError
        If the shapes or lengths do not fit, or a label is the blank or no class.

    References
    ----------
    .. [1] A. Graves et al., "Connectionist temporal classification: labelling unsegmented sequence data with recurrent
       neural networks", ICML 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnx import ops
    >>> logits = np.zeros((1, 2, 3))  # of 9 paths with the same probability, 3 say the label 1: 11, 01 and 10
    >>> ops.ctc_loss([[1]], logits, [1], [2]).round(4), np.log(9 / 3).round(4)
    (array([1.0986]), np.float64(1.0986))
    """
    return _ctc.ctc(*_loss_parts(target, output, target_length, output_length, mask_index))[0]


@gradient_of(ctc_loss)
def _ctc_loss_gradient(k: int, dy: Array, y: Array, target: Array, output: Array, target_length: Array,
                       output_length: Array, mask_index: int) -> Array | None:  # fmt: skip
    if k != 1:
        return None
    return _ctc.ctc(*_loss_parts(target, output, target_length, output_length, mask_index))[1](dy)


def ctc_decode(
    inputs: Any,
    sequence_lengths: Any,
    strategy: str = "greedy",
    beam_width: int = 100,
    top_paths: int = 1,
    merge_repeated: bool = True,
    mask_index: int = 0,
) -> tuple[Array, Array]:
    """The labels that a network with `CTC` says.

    Parameters
    ----------
    inputs : array of shape (batch, timesteps, classes)
        Logits or logarithms of probabilities.
    sequence_lengths : int array of shape (batch,)
        How many steps of each row count.
    strategy : {"greedy", "beam_search"}
        The most likely class of each step, without repeats and blanks; or the most likely label sequences, each with
        all the ways to spread it over the steps, among those that are kept from step to step.
    beam_width : int
        How many label sequences the search keeps.
    top_paths : int
        How many label sequences the search returns, at most ``beam_width``.
    merge_repeated : bool
        Whether a class that is the most likely at several steps in a row is one label; of the search it always is.
    mask_index : int
        The class that is the blank.

    Returns
    -------
    labels : int32 array of shape (top_paths, batch, timesteps)
        With -1 behind the last label; one path if greedy.
    scores : array of shape (batch, top_paths)
        Minus the sum of what was the largest at each step; of the search the logarithms of the probabilities, the
        largest first.

    Raises
    ------
    TypeError
        If the inputs are symbolic: decode what the model gave.
    ValueError
        If the strategy is another one, the shapes do not fit, or more paths are wanted than are kept.

    References
    ----------
    .. [1] A. Graves, N. Jaitly, "Towards end-to-end speech recognition with recurrent neural networks", ICML 2014.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnx import ops
    >>> logits = np.eye(3)[None, [1, 1, 0, 1, 2]]
    >>> ops.ctc_decode(logits, np.array([5]))[0].tolist()
    [[[1, 1, 2, -1, -1]]]
    >>> labels, scores = ops.ctc_decode(logits, np.array([5]), strategy="beam_search", top_paths=2)
    >>> labels[:, 0].tolist(), scores.round(2).tolist()
    ([[1, 2, -1, -1, -1], [1, 1, 2, -1, -1]], [[-1.59, -2.07]])
    """
    if is_symbolic(inputs):
        raise TypeError("ctc_decode: arrays are needed, got a symbolic tensor; decode what the model predicts")
    if strategy not in ("greedy", "beam_search"):
        raise ValueError(f"ctc_decode: `strategy` must be 'greedy' or 'beam_search', got {strategy!r}")
    x, lengths = np.asarray(inputs), np.asarray(sequence_lengths)
    if x.ndim != 3 or lengths.shape != x.shape[:1]:
        raise ValueError(
            "ctc_decode: `inputs` must have shape (batch, timesteps, classes) and `sequence_lengths` (batch,), got "
            f"{x.shape} and {lengths.shape}"
        )
    if not -x.shape[2] <= mask_index < x.shape[2]:
        raise ValueError(f"ctc_decode: `mask_index` must be one of {x.shape[2]} classes, got {mask_index}")
    if strategy == "beam_search":
        if not 1 <= top_paths <= beam_width:
            raise ValueError(f"ctc_decode: `top_paths` must lie in 1..{beam_width}, the `beam_width`, got {top_paths}")
        return _searched(x, lengths, beam_width, top_paths, mask_index % x.shape[2])
    there = np.arange(x.shape[1]) < lengths[:, None]
    best = x.argmax(axis=2).astype(np.int32)
    kept = there & (best != mask_index % x.shape[2])
    if merge_repeated:
        kept[:, 1:] &= best[:, 1:] != best[:, :-1]
    labels = np.full((1, *best.shape), NO_LABEL, np.int32)
    rows, steps = np.nonzero(kept)
    labels[0, rows, (kept.cumsum(axis=1) - 1)[rows, steps]] = best[rows, steps]
    return labels, -np.where(there, x.max(axis=2), 0).sum(axis=1, keepdims=True)


def _searched(x: Array, lengths: Array, width: int, paths: int, blank: int) -> tuple[Array, Array]:
    """Labels and scores of the search with beams."""
    log_p = x.astype(np.float64)
    log_p = log_p - np.logaddexp.reduce(log_p, axis=2, keepdims=True)
    labels = np.full((paths, *x.shape[:2]), NO_LABEL, np.int32)
    scores = np.full((len(x), paths), -np.inf, x.dtype if x.dtype.kind == "f" else np.float32)
    for row, length in enumerate(lengths):
        found, total = _beams(log_p[row, :length], width, blank)
        for path, (prefix, score) in enumerate(zip(found[:paths], total, strict=False)):
            labels[path, row, : len(prefix)] = prefix
            scores[row, path] = score
    return labels, scores


def _beams(log_p: Array, width: int, blank: int) -> tuple[list[tuple[int, ...]], Array]:
    """Label sequences, the most likely first, and the logarithms of their probabilities.

    Those that end in a blank and those that end in their last label are counted apart: only behind a blank the same
    label is a new one.
    """
    prefixes: list[tuple[int, ...]] = [()]
    in_blank, in_label = np.zeros(1), np.full(1, -np.inf)
    for p in log_p:
        total = np.logaddexp(in_blank, in_label)
        last = np.array([prefix[-1] if prefix else blank for prefix in prefixes])
        longer = total[:, None] + p
        rows = np.arange(len(prefixes))
        longer[rows, last] = in_blank + p[last]
        longer[:, blank] = -np.inf
        stay_blank, stay_label = total + p[blank], np.where(last == blank, -np.inf, in_label + p[last])
        known = {prefix: k for k, prefix in enumerate(prefixes)}
        for k, prefix in enumerate(prefixes):  # one that grows into another that is kept
            if prefix and (parent := known.get(prefix[:-1])) is not None:
                stay_label[k] = np.logaddexp(stay_label[k], longer[parent, prefix[-1]])
                longer[parent, prefix[-1]] = -np.inf
        score = np.concatenate([np.logaddexp(stay_blank, stay_label), longer.ravel()])
        best = np.argsort(-score, kind="stable")[:width]
        best = best[np.isfinite(score[best])]
        count, classes = len(prefixes), len(p)
        grown = best >= count
        prefixes = [
            prefixes[k] if k < count else (*prefixes[(k - count) // classes], int((k - count) % classes))
            for k in best.tolist()
        ]
        old = np.where(grown, 0, best)
        in_blank = np.where(grown, -np.inf, stay_blank[old])
        in_label = np.where(grown, score[best], stay_label[old])
    return prefixes, np.logaddexp(in_blank, in_label)
