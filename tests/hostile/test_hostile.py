"""Small files that ask for minutes or gigabytes are read within the limits or refused in one line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rnnx.saving import FormatError

from .kinds import Kind

if sys.platform != "linux":
    pytest.skip("limits of processes are those of Linux", allow_module_level=True)

from .limits import Meter, Outcome
from .registry import KINDS, complaint


@pytest.fixture(scope="module")
def meter() -> Iterator[Meter]:
    with Meter() as made:
        yield made


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name.replace(" ", "-"))
def test_within_the_limits(kind: Kind, meter: Meter, tmp_path: Path) -> None:
    path = tmp_path / f"hostile{kind.suffix}"
    kind.make(path, kind.size)
    assert complaint(kind, meter.read(path), path) is None


def test_names_of_kinds_are_unique() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome("read", "", 5.5, 0),
        Outcome("read", "", 1.0, 2 << 30),
        Outcome("MemoryError", "", 1.0, 0),
        Outcome("killed by signal 11", "", 1.0, 0),
        Outcome("FormatError", "m.pt: one\nand two", 1.0, 0),
        Outcome("FormatError", "the file is bad", 1.0, 0),
        Outcome("FormatError", "m.pt: \x1b[2J", 1.0, 0),
    ],
)
def test_what_is_wrong_is_noticed(outcome: Outcome) -> None:
    assert complaint(Kind("kind", ".pt", lambda path, size: None, 1, 1), outcome, Path("m.pt")) is not None


def test_a_session_is_run_on_small_inputs_only(tmp_path: Path) -> None:
    """An input of 8 GB is not made: the file that asks for it is loaded, not run."""
    from onnx import TensorProto, helper

    from .limits import act

    for k, shape in enumerate(([1 << 31], [-2], [2])):
        ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
        graph = helper.make_graph([helper.make_node("Acosh", ["x"], ["y"])], "graph", ports[:1], ports[1:])
        path = tmp_path / f"{k}.onnx"
        path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
        with pytest.raises(FormatError, match=path.name):  # of load_model, for which this is no layer
            act(path)
