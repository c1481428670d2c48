"""The operators with graphs inside: If, Loop and Scan."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnx.saving import FormatError

Array = NDArray[Any]
MOST_ROUNDS = 10_000_000  # of one Loop
LARGEST_RESULT = 2**31  # bytes that a Loop may collect


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
    """

    def __init__(self, body: Any, carried: int):
        if carried < 0 or len(body.inputs) != 2 + carried or len(body.outputs) < 1 + carried:
            raise FormatError(f"the body takes {len(body.inputs)} values and makes {len(body.outputs)}")
        self.body, self.carried = body, carried

    def __call__(self, rounds: Any, condition: Any, *values: Any) -> Any:
        state, captured = list(values[: self.carried]), values[self.carried :]
        go_on = condition is None or bool(condition.item())
        most = None if rounds is None else int(rounds.item())
        collected: list[list[Array]] = [[] for _ in self.body.outputs[1 + self.carried :]]
        done = size = 0
        while go_on and (most is None or done < most):
            if done >= MOST_ROUNDS:
                raise FormatError(f"more than {MOST_ROUNDS:,} rounds")
            results = self.body.run(np.array(done, np.int64), np.array(True), *state, *captured)
            go_on, state = bool(results[0].item()), results[1 : 1 + self.carried]
            for own, value in zip(collected, results[1 + self.carried :], strict=True):
                own.append(value)
                size += value.nbytes
            if size > LARGEST_RESULT:
                raise FormatError(f"it collects more than {LARGEST_RESULT:,} bytes")
            done += 1
        return (*state, *(np.stack(own) if own else np.zeros((0,), np.float32) for own in collected))


class Scan:
    """A program that is run on the slices of arrays, with carried states.

    Parameters
    ----------
    body : Program
    given : int
        Number of inputs of the node.
    attributes : dict
    opset : int
    """

    def __init__(self, body: Any, given: int, attributes: dict[str, Any], opset: int):
        count = attributes.get("num_scan_inputs", 0)
        self.states = given - count
        if opset < 9:
            raise FormatError("Scan is supported from opset 9 on")
        if count < 1 or self.states < 0 or len(body.inputs) != given or len(body.outputs) < self.states:
            raise FormatError(f"the body takes {len(body.inputs)} values and makes {len(body.outputs)}")
        results = len(body.outputs) - self.states
        self.body, self.given = body, given
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
        collected: list[list[Array]] = [[] for _ in self.output_axes]
        for t in range(lengths.pop()):
            results = self.body.run(*state, *(a[t] for a in arrays), *captured)
            state = results[: self.states]
            for own, value in zip(collected, results[self.states :], strict=True):
                own.append(value)
        outputs = []
        for own, axis, back in zip(collected, self.output_axes, self.output_backwards, strict=True):
            whole = np.stack(own[::-1] if back else own) if own else np.zeros((0,), np.float32)
            outputs.append(np.moveaxis(whole, 0, axis))
        return (*state, *outputs)


def _per_value(attributes: dict[str, Any], name: str, count: int) -> list[int]:
    found = [int(n) for n in attributes.get(name, [])] or [0] * count
    if len(found) != count:
        raise FormatError(f"{name} must have {count} entries, got {len(found)}")
    return found
