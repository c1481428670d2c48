"""Operators that move numbers: by ONNX' own reference, in old and new opsets, and what does not fit."""

from __future__ import annotations

import numpy as np
import pytest

from rnnx.formats.onnx import Session
from rnnx.saving import FormatError
from tests.formats.onnx.notation import feeds, parsed, wanted

X = "float[N, 5, 4] x"

CASES: dict[str, tuple[int, str, str]] = {
    "squeeze of all": (18, "float[N, 1, 4] x", "y = Squeeze (x)"),
    "squeeze by attribute": (11, "float[N, 1, 4, 1] x", "y = Squeeze <axes=[1, 3]> (x)"),
    "slice by attributes": (9, X, "y = Slice <starts=[1, -3], ends=[4, 1000], axes=[1, 2]> (x)"),
    "slice of axes from the end": (18, X, "y = Slice (x, [1, 1], [3, 4], [-1, -2])"),
    "slice by values": (
        18, f"{X}, float[1] n",
        "s = Cast <to=7> (n) i = Sub (s, s) e = Add (i, [2]) y = Slice (x, i, e)",
    ),
    "padding by attributes": (10, X, "y = Pad <pads=[0, 1, 0, 0, 2, 1], value=0.25> (x)"),
    "padding of axes": (18, X, "y = Pad (x, [1, 0, 2, 3], {-1.0}, [-1, 1])"),
    "mirror of spectrograms": (18, X, "y = Pad <mode='reflect'> (x, [0, 0, 0, 0, 0, 2])"),
    "mirror on both sides": (18, X, "y = Pad <mode='reflect'> (x, [0, 2, 1, 0, 1, 2])"),
    "largest of each row": (18, X, "y, i = TopK <axis=1> (x, [2])"),
    "smallest of each row": (18, X, "y, i = TopK <axis=-1, largest=0> (x, [3])"),
    "rows by their places": (
        18, f"{X}, float[N, 2] h",
        "z = Sub (h, h) i = Cast <to=7> (z) p = Reshape (i, [0, 2, 1]) y = GatherND <batch_dims=1> (x, p)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_values(name: str) -> None:
    opset, inputs, nodes = CASES[name]
    proto = parsed(nodes, inputs, opset)
    for rows in (3, 1):
        given = feeds(proto, rows)
        found, expected = Session(proto).run(given)["y"], wanted(proto, given)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_padding_that_cuts() -> None:
    """The reference evaluator lacks it."""
    proto = parsed("y = Pad (x, [0, -1, 2, 0, -2, -1])", X)
    x = feeds(proto)["x"]
    expected = np.concatenate([np.zeros((3, 2, 2), np.float32), x[:, 1:3, :3]], axis=2)
    np.testing.assert_array_equal(Session(proto).run({"x": x})["y"], expected)


WRONG: dict[str, tuple[int, str, str, str]] = {
    "axes that are not there": (
        18, "float[N, T] x",
        "y = Slice (x, [0], [0], [-3])",
        r"no axes \[-3\] in an array of 2 axes",
    ),
    "starts without ends": (
        18, f"{X}, float[1] n",
        "s = Cast <to=7> (n) y = Slice (x, s, [2, 3])",
        "do not fit together",
    ),
    "more than there are": (18, X, "y, i = TopK (x, [5])", "5 of 4 elements are wanted"),
    "too few pads": (18, X, "y = Pad (x, [0, 1])", "6 pads are needed, got 2"),
    "too few pads of axes": (18, X, "y = Pad (x, [0, 1, 2], {0.0}, [1])", "2 pads are needed, got 3"),
    "pads of no axis": (18, X, "y = Pad (x, [0, 1], {0.0}, [3])", "no axis 3 in an array of 3 axes"),
    "parts that do not add up": (
        18, X,
        "y, z = Split <axis=2> (x, [1, 2])",
        r"4 cannot be split into 2 parts \[1, 2\]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_named(name: str) -> None:
    opset, inputs, nodes, words = WRONG[name]
    proto = parsed(nodes, inputs, opset)
    with pytest.raises(FormatError, match=f"node 'y': .*{words}"):
        Session(proto).run(feeds(proto))
