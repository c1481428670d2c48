"""The steps of a graph: their places, what they free, and how often anything is done in a walk."""

import ast
import copy
import pathlib
import pickle
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import Input, Model, Sequential, layers
from rnnx.layers.layer import Layer

SOURCE = pathlib.Path(rnnx.__file__).parent
X = np.random.default_rng(0).normal(size=(4, 5, 3))


def branched() -> Model:
    x, h = Input((None, 3)), Input((2,))
    low = layers.GRU(2, return_sequences=True, return_state=True)
    y, state = low(x, initial_state=h)
    again, last = low(layers.Dense(3)(y), initial_state=state)
    return Model([x, h], [layers.add([y, again]), layers.Dense(1)(last)])


def counted(monkeypatch: pytest.MonkeyPatch, kind: Any, name: str) -> list[str]:
    """Who calls a method, from now on."""
    calls: list[str] = []
    original = getattr(kind, name)

    def counting(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(self.name)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(kind, name, counting)
    return calls


# ---- The steps ------------------------------------------------------------------------------------------------------


def test_places() -> None:
    plan = branched().plan
    assert plan.inputs == [0, 1] and plan.outputs == [7, 8]
    assert [(step.inputs, step.states, step.outputs) for step in plan.steps] == [
        ((0,), (1,), (2, 3)),
        ((2,), (), (4,)),
        ((4,), (3,), (5, 6)),
        ((2, 5), (), (7,)),
        ((6,), (), (8,)),
    ]
    assert [step.single for step in plan.steps] == [True, True, True, False, True]
    assert [tensor.shape[-1] for tensor in plan.tensors] == [3, 2, 2, 2, 3, 2, 2, 2, 1]
    assert not plan.is_chain()


def test_a_place_is_freed_after_its_last_use_and_outputs_stay() -> None:
    plan = branched().plan
    assert [sorted(step.frees) for step in plan.steps] == [[0, 1], [], [3, 4], [2, 5], [6]]
    x = Input((None, 3))
    _, unused = layers.GRU(2, return_state=True)(x)
    first = layers.Dense(2)(x)
    plan = Model(x, [layers.Dense(1)(first), first]).plan
    assert [sorted(step.frees) for step in plan.steps] == [[0], []]
    assert unused not in plan.tensors


def test_values_inside_are_gone_after_the_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    import weakref

    model = Sequential([Input((None, 3)), layers.Dense(2), layers.Dense(2), layers.Dense(2)])
    seen: list[Any] = []
    alive: list[int] = []
    original = layers.Dense.forward

    def forward(self: Any, x: Any, **call: Any) -> Any:
        alive.append(sum(reference() is not None for reference in seen[:-1]))
        y, pullback = original(self, x, **call)
        seen.append(weakref.ref(y))
        return y, pullback

    monkeypatch.setattr(layers.Dense, "forward", forward)
    model(X)
    assert alive == [0, 0, 0]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model)), copy.copy])
@pytest.mark.parametrize("make", [branched, lambda: Sequential([Input((None, 3)), layers.GRU(2), layers.Dense(1)])])
def test_copies_have_the_steps_of_their_own_graph(copied: Any, make: Any) -> None:
    model = make()
    again = copied(model)
    assert [step.inputs for step in again.plan.steps] == [step.inputs for step in model.plan.steps]
    assert [step.layer for step in again.plan.steps] == [node.layer for node in again.nodes]
    assert set(again.plan.layers()) >= set(again.layers)
    x = [X, X[:, 0, :2]] if model.several_inputs else X
    for one, other in zip(model.predict(x), again.predict(x), strict=True):
        np.testing.assert_array_equal(one, other)
    if isinstance(again, Sequential) and copied is not copy.copy:
        again.add(layers.Dense(4))
        assert again(X).shape == (4, 4) and model(X).shape == (4, 1)


def test_deep_models_are_copied_without_deep_recursion() -> None:
    model = Sequential([Input((3,))])
    for _ in range(300):
        model.add(layers.Dense(3))
    for copied in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(copied(X[:, 0]), model(X[:, 0]))


def test_each_layer_that_is_added_is_planned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from rnnx.layers.plan import Plan

    added: list[Any] = []
    original = Plan._add
    monkeypatch.setattr(Plan, "_add", lambda self, node: (added.append(node), original(self, node))[1])
    model = Sequential([Input((3,))])
    for _ in range(20):
        model.add(layers.Dense(3))
    assert len(added) == 20
    whole = Plan(model.inputs, model.outputs)
    for one, other in zip(model.plan.steps, whole.steps, strict=True):
        assert (one.inputs, one.outputs, one.frees) == (other.inputs, other.outputs, other.frees)
    assert model.plan.calls == whole.calls and model.plan.outputs == whole.outputs
    model.pop()
    assert len(model.plan.steps) == 19


def test_nobody_else_walks_a_graph() -> None:
    """No other file has values by the identity of their tensors, or takes the states from the inputs of a call."""
    allowed = {"layers/plan.py", "layers/graph.py"}
    found = []
    for path in SOURCE.rglob("*.py"):
        name = path.relative_to(SOURCE).as_posix()
        for node in ast.walk(ast.parse(path.read_text())) if name not in allowed else []:
            text = ast.unparse(node) if isinstance(node, (ast.Call, ast.BinOp, ast.For, ast.comprehension)) else ""
            if text in ("id(tensor)", "id(t)", "id(node)", "id(tensor.node)", "id(t.node)"):
                found.append((name, text))
            elif isinstance(node, ast.BinOp) and text.startswith("len(") and text.endswith("states"):
                found.append((name, text))
            elif isinstance(node, (ast.For, ast.comprehension)) and ast.unparse(node.iter).endswith(".nodes"):
                found.append((name, ast.unparse(node.iter)))
    # Graphs and loops of ONNX have nodes and states of their own.
    assert [entry for entry in found if not entry[0].startswith("formats/onnx/")] == []


# ---- Once -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["call", "vjp", "predict", "fit"])
def test_the_input_of_a_model_is_prepared_and_cast_once(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    model = Sequential([Input((None, 3)), layers.GRU(2, return_sequences=True), layers.Dropout(0.1), layers.Dense(1)])
    model.compile("sgd", "mse")
    y = model(X)
    if call == "fit":
        model.fit(X, y, verbose=0)  # tries the first row before it trains
    prepared, cast = counted(monkeypatch, Model, "prepare"), counted(monkeypatch, Layer, "cast")
    {
        "call": lambda: model(X),
        "vjp": lambda: model.vjp(X),
        "predict": lambda: model.predict(X),
        "fit": lambda: model.forward_with_mask(X, training=True, keep=True),
    }[call]()
    assert prepared == [model.name] and cast == [model.inputs[0].name]


def test_a_model_inside_is_prepared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = Sequential([Input((None, 3)), layers.GRU(2)])
    model = Sequential([Input((None, 3)), layers.Masking(), inner, layers.Dense(1)])
    prepared = counted(monkeypatch, Model, "prepare")
    model(X)
    assert prepared == [model.name, inner.name]


def test_values_of_another_type_inside_are_still_prepared() -> None:
    class Doubled(Layer):
        def forward(self, x: Any, *, keep: bool = False, **call: Any) -> Any:
            return x.astype(np.float64).tolist(), None

    x = Input((None, 3))
    model = Model(x, layers.Dense(1)(Doubled()(x)))
    assert model(X).dtype == np.float32
    wide = Model(x, layers.Dense(1, dtype="float64")(layers.GRU(2)(x)))
    assert wide(X).dtype == np.float64


@pytest.mark.parametrize("how", ["call", "stream", "stream of a layer"])
def test_a_mask_is_computed_once(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    masking = layers.Masking()
    model = Sequential([Input((None, 3)), masking, layers.GRU(2)])
    masking(X)
    stream = (masking if how == "stream of a layer" else model).stream(4)
    computed = counted(monkeypatch, layers.Masking, "compute_mask")
    model(X) if how == "call" else stream.step(X[:, 0])
    assert computed == [masking.name]


def test_a_masking_of_ones_own_is_asked() -> None:
    class Louder(layers.Masking):
        def forward(self, x: Any, **call: Any) -> Any:
            y, pullback = super().forward(x, **call)
            return 2 * y, pullback

    padded = X.copy()
    padded[:, 3:] = 0
    model = Sequential([Input((None, 3)), Louder(), layers.GRU(2)])
    np.testing.assert_array_equal(model(padded), model.layers[1](2 * padded, mask=np.arange(5) < np.full((4, 1), 3)))
    np.testing.assert_array_equal(model.stream(4).run(padded)[:, -1], model(padded))


def test_gradients_of_a_branched_graph_are_those_of_its_parts() -> None:
    model = branched()
    x = [X.astype(np.float32), X[:, 0, :2].astype(np.float32)]
    ys, pullback = model.vjp(x)
    dys = [np.ones_like(y) for y in ys]
    whole = pullback(dys)
    parts = [pullback([dys[0], None]), pullback([None, dys[1]])]
    for k, d in enumerate(whole.dweights):
        np.testing.assert_allclose(d, parts[0].dweights[k] + parts[1].dweights[k], atol=1e-5)
    for k, d in enumerate(whole.dx):
        np.testing.assert_allclose(d, parts[0].dx[k] + parts[1].dx[k], atol=1e-5)
