"""The operators with graphs inside: If, Loop and Scan."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.formats.onnx._limits import Meter
from rnnx.formats.onnx._sizes import measure
from rnnx.saving import FormatError

MOST_ROUNDS = 10_000_000  # of one Loop


class If:
    """One of two programs; called with the condition, and with what both capture."""

    def __init__(self, then: Any, other: Any):
        self.then, self.other = then, other
        self.middle = 1 + len(then.captured)

    def __call__(self, condition: Array, *captured: Any) -> Any:
        if condition.size != 1:
            raise FormatError(f"the condition must be one value, got shape {condition.shape}")
        if condition.item():
            return self.then.run(*captured[: self.middle - 1])
        return self.other.run(*captured[self.middle - 1 :])


class Loop:
    """A program that is run again and again; called with the number of rounds, the condition and carried values.

    Parameters
    ----------
    body : Program
    carried : int
        Number of values that go from round to round.
    meter : Meter
        Counts what is collected; the rounds themselves are counted by the body.
    """

    def __init__(self, body: Any, carried: int, meter: Meter):
        if carried < 0 or len(body.inputs) != 2 + carried or len(body.outputs) < 1 + carried:
            raise FormatError(f"the body takes {len(body.inputs)} values and makes {len(body.outputs)}")
        self.body, self.carried, self.meter = body, carried, meter

    def __call__(self, rounds: Any, condition: Any, *values: Any) -> Any:
        state, captured = list(values[: self.carried]), values[self.carried :]
        go_on = condition is None or bool(condition.item())
        most = None if rounds is None else int(rounds.item())
        collected = Collected(len(self.body.outputs) - 1 - self.carried, self.meter)
        done = 0
        with collected:
            while go_on and (most is None or done < most):
                if done >= MOST_ROUNDS:
                    raise FormatError(f"more than {MOST_ROUNDS:,} rounds")
                results = self.body.run(np.array(done, np.int64), np.array(True), *state, *captured)
                go_on, state = bool(results[0].item()), results[1 : 1 + self.carried]
                collected.add(results[1 + self.carried :], state)
                done += 1
            return (*state, *(collected.stacked(k) for k in range(len(collected.values))))


class Collected:
    """Values of all rounds, whose bytes are counted as long as they are held, as are those that go from round to round.

    Parameters
    ----------
    count : int
        Values of a round.
    meter : Meter
    """

    def __init__(self, count: int, meter: Meter):
        self.values: list[list[Array]] = [[] for _ in range(count)]
        self.meter, self.size, self.carried = meter, 0, 0

    def __enter__(self) -> Collected:
        return self

    def __exit__(self, *_: Any) -> None:
        self.meter.hold(-self.size - self.carried)

    def add(self, values: Any, state: Any) -> None:
        """Those of a round, which are going to be copied once, and those for the next."""
        size, carried = 2 * sum([measure(value) for value in values]), sum([measure(value) for value in state])
        more = size + carried - self.carried
        self.size, self.carried = self.size + size, carried
        self.meter.hold(more)
        for own, value in zip(self.values, values, strict=True):
            own.append(value)

    def stacked(self, place: int, *, backwards: bool = False) -> Array:
        """One of the values, all rounds along the first axis."""
        own = self.values[place]
        return np.stack(own[::-1] if backwards else own) if own else np.zeros((0,), np.float32)


class Scan:
    """A program that is run on the slices of arrays, with carried states.

    Parameters
    ----------
    body : Program
    given : int
        Number of inputs of the node.
    attributes : dict
    opset : int
    meter : Meter
    """

    def __init__(self, body: Any, given: int, attributes: dict[str, Any], opset: int, meter: Meter):
        count = attributes.get("num_scan_inputs", 0)
        self.states = given - count
        if opset < 9:
            raise FormatError("Scan is supported from opset 9 on")
        if count < 1 or self.states < 0 or len(body.inputs) != given or len(body.outputs) < self.states:
            raise FormatError(f"the body takes {len(body.inputs)} values and makes {len(body.outputs)}")
        results = len(body.outputs) - self.states
        self.body, self.given, self.meter = body, given, meter
        self.input_axes = _per_value(attributes, "scan_input_axes", count)
        self.input_backwards = _per_value(attributes, "scan_input_directions", count)
        self.output_axes = _per_value(attributes, "scan_output_axes", results)
        self.output_backwards = _per_value(attributes, "scan_output_directions", results)

    def __call__(self, *values: Any) -> Any:
        state, captured = list(values[: self.states]), values[self.given :]
        arrays = [
            np.moveaxis(a, axis, 0) for a, axis in zip(values[self.states : self.given], self.input_axes, strict=True)
        ]
        arrays = [a[::-1] if back else a for a, back in zip(arrays, self.input_backwards, strict=True)]
        lengths = {len(a) for a in arrays}
        if len(lengths) != 1:
            raise FormatError(f"the scanned inputs have different lengths {sorted(lengths)}")
        outputs = []
        with Collected(len(self.output_axes), self.meter) as collected:
            for t in range(lengths.pop()):
                results = self.body.run(*state, *(a[t] for a in arrays), *captured)
                state = results[: self.states]
                collected.add(results[self.states :], state)
            for k, (axis, back) in enumerate(zip(self.output_axes, self.output_backwards, strict=True)):
                outputs.append(np.moveaxis(collected.stacked(k, backwards=bool(back)), 0, axis))
        return (*state, *outputs)


def _per_value(attributes: dict[str, Any], name: str, count: int) -> list[int]:
    found = [int(n) for n in attributes.get(name, [])] or [0] * count
    if len(found) != count:
        raise FormatError(f"{name} must have {count} entries, got {len(found)}")
    return found
