"""Modules on the engine against PyTorch's own: values, gradients, shapes, errors."""

from __future__ import annotations

import copy
import pickle
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence

import rnnx.torch
from rnnx.torch import _operator, _policy
from rnnx.torch._operator import packed_of

pytestmark = pytest.mark.torch
PAIRS = {"LSTM": (nn.LSTM, rnnx.torch.LSTM), "GRU": (nn.GRU, rnnx.torch.GRU), "RNN": (nn.RNN, rnnx.torch.RNN)}
LENGTHS = {"packed": [6, 4, 3, 1], "unsorted": [3, 6, 1, 4]}


def parts_of(state: Any) -> tuple[torch.Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)


def pair(name: str, **options: Any) -> tuple[nn.Module, nn.Module]:
    plain, ours = (cls(3, 5, **options) for cls in PAIRS[name])
    ours.load_state_dict(plain.state_dict())
    return plain, ours


def run(module: nn.Module, x: torch.Tensor, states: Any, form: str) -> tuple[Any, list[torch.Tensor]]:
    """The results, and all gradients of a sum with fixed weights."""
    x = x.clone().requires_grad_()
    given = [part.clone().requires_grad_() for part in states]
    hx = None if not given else tuple(given) if len(given) == 2 else given[0]
    data: Any = x
    if form in LENGTHS:
        lengths = torch.tensor(LENGTHS[form])
        data = pack_padded_sequence(x, lengths, module.batch_first, enforce_sorted=form == "packed")
    y, state = module(data, hx)
    results = [y.data if isinstance(y, PackedSequence) else y, *parts_of(state)]
    torch.manual_seed(1)
    sum((part * torch.randn(part.shape, dtype=part.dtype)).sum() for part in results).backward()
    return (y, results), [part.grad for part in (x, *given, *module.parameters())]


@pytest.fixture
def few_steps() -> Iterator[None]:
    """Small calls too run on the engine."""
    with _policy.everything_on_rnnx():
        yield


@pytest.mark.parametrize("form", ["full", "packed", "unsorted", "alone"])
@pytest.mark.parametrize("with_states", [False, True])
@pytest.mark.parametrize(("dtype", "bias"), [(torch.float32, True), (torch.float64, False)])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", sorted(PAIRS))
def test_equal_to_pytorch(name, layers, bidirectional, batch_first, bias, dtype, with_states, form, few_steps):
    options = dict(num_layers=layers, bidirectional=bidirectional, batch_first=batch_first, bias=bias, dtype=dtype)
    if name == "RNN":
        options["nonlinearity"] = "relu" if layers == 2 else "tanh"
    plain, ours = pair(name, **options)
    torch.manual_seed(0)
    shape = (6, 3) if form == "alone" else (4, 6, 3) if batch_first else (6, 4, 3)
    x = torch.randn(shape, dtype=dtype)
    count = layers * (2 if bidirectional else 1)
    wide = (count, 5) if form == "alone" else (count, 4, 5)
    states = [torch.randn(wide, dtype=dtype) for _ in range(2 if name == "LSTM" else 1)] if with_states else []
    (y, results), gradients = run(plain, x, states, form)
    (own_y, own_results), own_gradients = run(ours, x, states, form)
    exact = dtype == torch.float64
    torch.testing.assert_close(own_results, results, atol=1e-12 if exact else 1e-6, rtol=1e-10 if exact else 1e-5)
    torch.testing.assert_close(own_gradients, gradients, atol=1e-11 if exact else 1e-5, rtol=1e-10 if exact else 1e-4)
    if isinstance(y, PackedSequence):
        for part, own in zip(y[1:], own_y[1:], strict=True):
            assert part is None and own is None or torch.equal(part, own)
    else:
        assert own_y.is_contiguous() or not y.is_contiguous()


@pytest.mark.parametrize("name", sorted(PAIRS))
def test_gradients_by_finite_differences(name, few_steps):
    module = PAIRS[name][1](2, 3, num_layers=2, bidirectional=True, dtype=torch.float64)
    names = [key for key, _ in module.named_parameters()]
    x = torch.randn(4, 2, 2, dtype=torch.float64, requires_grad=True)

    def results(x: torch.Tensor, *weights: torch.Tensor) -> Any:
        y, state = torch.func.functional_call(module, dict(zip(names, weights, strict=True)), (x,))
        return y, *parts_of(state)

    assert torch.autograd.gradcheck(results, (x, *module.parameters()))


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m(torch.zeros(5, 2, 4)),
        lambda m: m(torch.zeros(5)),
        lambda m: m(torch.zeros(5, 2, 3), torch.zeros(1, 3, 5)),
        lambda m: m(torch.zeros(5, 2, 3), torch.zeros(2, 5)),
        lambda m: m(torch.zeros(5, 3), torch.zeros(1, 1, 5)),
        lambda m: m(torch.zeros(5, 2, 3, dtype=torch.float64)),
        lambda m: m(torch.zeros(0, 2, 3)),
        lambda m: m(torch.zeros(5, 2, 3, dtype=torch.int64)),
    ],
)
def test_mistakes_are_errors_of_the_same_kind(call):
    plain, ours = pair("GRU")
    with pytest.raises(Exception) as theirs:  # noqa: B017
        call(plain)
    with pytest.raises(theirs.type):
        call(ours)


def test_dropout_between_layers_is_pytorchs_own():
    plain, ours = pair("LSTM", num_layers=3, dropout=0.5)
    x = torch.randn(6, 4, 3)
    torch.manual_seed(2)
    wanted = plain(x)[0]
    torch.manual_seed(2)
    torch.testing.assert_close(ours(x)[0], wanted)
    torch.testing.assert_close(ours.eval()(x)[0], plain.eval()(x)[0])


def test_dropout_between_layers_of_packed_data_is_pytorchs_own():
    plain, ours = pair("GRU", num_layers=2, dropout=0.5)
    packed = pack_padded_sequence(torch.randn(6, 4, 3), torch.tensor([6, 4, 3, 1]))
    torch.manual_seed(2)
    wanted = plain(packed)[0].data
    torch.manual_seed(2)
    torch.testing.assert_close(ours(packed)[0].data, wanted)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("name", sorted(PAIRS))
def test_reset_is_the_parts_one_by_one(name, batch_first, few_steps):
    plain, ours = pair(name, num_layers=2, bidirectional=True, batch_first=batch_first)
    parts = [torch.randn((4, n, 3) if batch_first else (n, 4, 3)) for n in (3, 5, 1)]
    axis = 1 if batch_first else 0
    x = torch.cat(parts, axis)
    reset = torch.zeros(x.shape[:2], dtype=torch.bool)
    reset.select(axis, 3)[:] = reset.select(axis, 8)[:] = True
    # the layers above see nothing of the parts before either, so that three calls of the plain module say the same
    wanted = torch.cat([plain(part)[0] for part in parts], axis)
    y, _ = ours(x, None, reset)
    torch.testing.assert_close(y, wanted)
    wanted.pow(2).sum().backward()
    y.pow(2).sum().backward()
    for own, weight in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(own.grad, weight.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("as_data", [False, True])
@pytest.mark.parametrize("name", sorted(PAIRS))
def test_reset_of_packed_sequences_is_the_parts_one_by_one(name, as_data, few_steps):
    plain, ours = pair(name, num_layers=2, bidirectional=True)
    parts = [[torch.randn(n, 3) for n in lengths] for lengths in ((2, 1), (3, 5, 1), (4,), (1, 1, 1, 6))]
    x = pack_sequence([torch.cat(row) for row in parts], enforce_sorted=False)
    begins = [torch.cat([torch.arange(len(part)) == 0 for part in row]) for row in parts]
    reset = pack_sequence(begins, enforce_sorted=False)
    wanted = [torch.cat([plain(part)[0] for part in row]) for row in parts]
    y, _ = ours(x, None, reset.data if as_data else reset)
    torch.testing.assert_close(y.data, pack_sequence(wanted, enforce_sorted=False).data)
    torch.cat(wanted).pow(2).sum().backward()
    y.data.pow(2).sum().backward()
    for own, weight in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(own.grad, weight.grad, atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(ours(x, None, reset)[0].data, y.data)


def test_wrong_reset_of_packed_sequences():
    module = rnnx.torch.GRU(3, 5)
    x = pack_sequence([torch.randn(n, 3) for n in (9, 20)], enforce_sorted=False)
    other = pack_sequence([torch.zeros(n, dtype=torch.bool) for n in (20, 9)], enforce_sorted=False)
    for reset in (other, pack_sequence([torch.zeros(n, dtype=torch.bool) for n in (20, 8)])):
        with pytest.raises(ValueError, match="`reset` must be packed as the input is"):
            module(x, reset=reset)
    with pytest.raises(ValueError, match=r"bool tensor of shape \(29,\), got torch.float32 of \(29,\)"):
        module(x, reset=torch.zeros(29))
    with pytest.raises(ValueError, match=r"bool tensor of shape \(29,\), got torch.bool of \(20, 2\)"):
        module(x, reset=torch.zeros(20, 2, dtype=torch.bool))


def test_reset_of_one_sequence_and_wrong_ones():
    plain, ours = pair("LSTM")
    x = torch.randn(20, 3)
    y, _ = ours(x, reset=torch.arange(20) == 7)
    torch.testing.assert_close(y, torch.cat((plain(x[:7])[0], plain(x[7:])[0])))
    with pytest.raises(ValueError, match=r"bool tensor of shape \(20,\), got torch.int64 of \(20,\)"):
        ours(x, reset=torch.arange(20))
    with pytest.raises(NotImplementedError, match="reset"):
        ours.half()(x.half(), reset=torch.arange(20) == 7)


def test_threads_are_those_of_pytorch(monkeypatch):
    """Workers of a DataLoader say one."""
    told = []
    forward = rnnx.functional.gru.forward

    def listen(*args: Any, **call: Any) -> Any:
        told.append(call["threads"])
        return forward(*args, **call)

    core = SimpleNamespace(pack=rnnx.functional.gru.pack, forward=listen)
    monkeypatch.setitem(rnnx.torch._operator.CORES, "GRU", core)
    module = rnnx.torch.GRU(3, 4)
    before = torch.get_num_threads()
    try:
        for wanted in (1, 2):
            torch.set_num_threads(wanted)
            with torch.no_grad(), rnnx.threads(2):
                module(torch.zeros(20, 2, 3))
    finally:
        torch.set_num_threads(before)
    assert told == [1, 2]


@pytest.mark.parametrize("change", ["optimizer", "data", "slice of data", "new data", "load_state_dict"])
def test_weights_that_change_are_noticed(change):
    plain, ours = pair("GRU")
    x = torch.randn(6, 4, 3)
    with torch.no_grad():
        ours(x), ours(x)
    weight = ours.weight_hh_l0
    if change == "optimizer":
        ours(x)[0].sum().backward()
        torch.optim.SGD(ours.parameters(), 0.1).step()
    elif change == "data":
        weight.data.neg_()
    elif change == "slice of data":
        weight.data[7, 2] += 1
    elif change == "new data":
        weight.data = torch.randn_like(weight)
    else:
        ours.load_state_dict({key: -value for key, value in ours.state_dict().items()})
    plain.load_state_dict(ours.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(ours(x)[0], plain(x)[0])


@pytest.mark.parametrize("kind", ["other strides", "data across memory", "data whose sign is yet to turn"])
def test_weights_that_lie_in_other_ways_are_noticed(kind, few_steps):
    plain, ours = (cls(5, 5) for cls in PAIRS["RNN"])
    weight = torch.randn(5, 5)
    if kind == "data across memory":
        weight = weight.t()
    elif kind == "data whose sign is yet to turn":
        weight = torch.randn(5, 5, dtype=torch.cfloat).conj().imag
    ours.weight_hh_l0 = nn.Parameter(weight)
    x = torch.randn(6, 4, 5)
    with torch.no_grad():
        ours(x), ours(x), ours(x)
    if kind == "other strides":
        ours.weight_hh_l0.data = ours.weight_hh_l0.data.t()
    else:
        ours.weight_hh_l0.data[3, 2] += 1
    plain.load_state_dict(ours.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(ours(x)[0], plain(x)[0])


@pytest.mark.parametrize("how", ["parameters", "data", "strides of a bias", "fewer features"])
def test_weights_that_begin_where_others_began_are_noticed(how, few_steps):
    plain, ours = (cls(4, 8) for cls in PAIRS["RNN"])
    bias = torch.randn(16)
    ours.bias_hh_l0 = nn.Parameter(bias[:8])
    x = torch.randn(6, 3, 4)
    with torch.no_grad():
        ours(x), ours(x)
    if how == "strides of a bias":
        ours.bias_hh_l0 = nn.Parameter(bias[::2])
    elif how == "fewer features":
        ours.input_size, x = 3, x[..., :3]
        ours.weight_ih_l0 = nn.Parameter(ours.weight_ih_l0[:, :3])
        plain = nn.RNN(3, 8)
    else:  # fewer units
        ours.hidden_size = 5
        for name, weight in list(ours.named_parameters()):
            part = weight.detach()[:5, :5] if name == "weight_hh_l0" else weight.detach()[:5]
            if how == "data":
                weight.data = part
            else:
                setattr(ours, name, nn.Parameter(part))
        plain = nn.RNN(4, 5)
    plain.load_state_dict(ours.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(ours(x)[0], plain(x)[0])


def test_data_that_changes_between_steps_of_training_is_noticed(few_steps):
    plain, ours = pair("GRU")
    optimizer = torch.optim.SGD(ours.parameters(), 0.1)
    x = torch.randn(6, 4, 3)
    for calls in (0, 1, 2):
        ours(x)[0].sum().backward()
        optimizer.step()
        for _ in range(calls):
            ours(x)
        ours.weight_hh_l0.data[7, 2] += 1
        plain.load_state_dict(ours.state_dict())
        torch.testing.assert_close(ours(x)[0], plain(x)[0])


def test_weights_are_packed_once_for_each_version(few_steps, monkeypatch):
    packed = []

    def pack(*given: Any) -> Any:
        packed.append(1)
        return packed_of(*given)

    monkeypatch.setattr(_operator, "packed_of", pack)
    module, x = rnnx.torch.GRU(3, 4), torch.randn(6, 4, 3)
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    with torch.no_grad():
        module(x), module(x), module(x)
    assert len(packed) == 1
    for _ in range(3):
        module(x)[0].sum().backward()
        optimizer.step()
    assert len(packed) == 3
    module(x), module(x), module(x)
    assert len(packed) == 5  # once more to know the numbers, which no step of training reads


@pytest.fixture
def kept(monkeypatch):
    """Weak references to what each call of the operator keeps for its gradient."""
    found, inner = [], _operator.run

    def run(*given: Any) -> Any:
        results = inner(*given)
        found.append(weakref.ref(results[-1]))
        return results

    monkeypatch.setattr(_operator, "run", run)
    return found


def test_a_call_runs_once_and_is_forgotten_with_its_graph(few_steps, kept):
    module, x = rnnx.torch.LSTM(3, 4), torch.randn(6, 4, 3)
    y = module(x)[0]
    y.sum().backward(retain_graph=True)
    assert len(kept) == 1 and kept[0]() is not None
    y.sum().backward()
    assert len(kept) == 1 and kept[0]() is None and y.grad_fn is not None


def test_rules_of_autograd_hold(few_steps):
    module = rnnx.torch.GRU(3, 4)
    x = torch.randn(5, 2, 3, requires_grad=True)
    changed = x * 1
    y = module(changed)[0]
    with torch.no_grad():
        changed.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace"):
        y.sum().backward()
    y = module(x)[0]
    y.sum().backward(retain_graph=True)
    once = x.grad.clone()
    y.sum().backward()
    torch.testing.assert_close(x.grad, 2 * once)
    with pytest.raises(RuntimeError, match="second time"):
        y.sum().backward()
    (slope,) = torch.autograd.grad(module(x)[0].sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="second derivatives"):
        slope.sum().backward()


def test_frozen_parts_get_no_gradient(few_steps):
    module = rnnx.torch.LSTM(3, 4)
    x = torch.randn(5, 2, 3)
    module(x)[0].sum().backward()
    wanted = [weight.grad.clone() for weight in module.parameters()]
    module.zero_grad()
    module.weight_hh_l0.requires_grad_(False)
    module(x)[0].sum().backward()
    assert module.weight_hh_l0.grad is None
    torch.testing.assert_close(module.weight_ih_l0.grad, wanted[0])


def test_stored_and_recomputed_workspaces(few_steps):
    module = rnnx.torch.LSTM(3, 4, recurrent_dropout=0.3)
    x = torch.randn(5, 2, 3, requires_grad=True)

    def gradient(call: Any) -> torch.Tensor:
        torch.manual_seed(4)
        x.grad = None
        call().sum().backward()
        return x.grad

    wanted = gradient(lambda: module(x)[0])

    def on_cpu() -> torch.Tensor:
        with torch.autograd.graph.save_on_cpu():
            return module(x)[0]

    torch.testing.assert_close(gradient(on_cpu), wanted, atol=0, rtol=0)
    again = torch.utils.checkpoint.checkpoint
    found = gradient(lambda: again(lambda t: module(t)[0], x, use_reentrant=False))
    torch.testing.assert_close(found, wanted, atol=0, rtol=0)


def test_hooks_that_store_what_is_saved_store_all_of_it(few_steps, kept):
    """Activation checkpoints and offloading count on it: nothing is kept beside what they are handed."""
    module, x = rnnx.torch.LSTM(3, 4), torch.randn(6, 4, 3)
    with torch.autograd.graph.saved_tensors_hooks(torch.clone, lambda tensor: tensor):
        y = module(x)[0]
    assert kept[0]() is None
    y.sum().backward()
    found = module.weight_hh_l0.grad.clone()
    module.zero_grad()
    module(x)[0].sum().backward()
    torch.testing.assert_close(found, module.weight_hh_l0.grad, atol=0, rtol=0)


@pytest.mark.parametrize("name", sorted(PAIRS))
def test_recurrent_dropout(name):
    module = PAIRS[name][1](3, 40, recurrent_dropout=0.5, input_dropout=0.2)
    x = torch.randn(6, 4, 3)
    torch.manual_seed(3)
    first = module(x)[0]
    torch.manual_seed(3)
    assert torch.equal(module(x)[0], first)
    assert not torch.equal(module(x)[0], first)
    plain = PAIRS[name][0](3, 40)
    plain.load_state_dict(module.state_dict())
    module.eval()
    torch.testing.assert_close(module(x)[0], plain(x)[0])
    own = copy.deepcopy(module)
    own.generator = torch.Generator().manual_seed(5)
    own.train()
    here = own(x)[0]
    own.generator.manual_seed(5)
    assert torch.equal(own(x)[0], here)
    assert "recurrent_dropout=0.5" in repr(module)
    assert pickle.loads(pickle.dumps(module)).noise == module.noise


def test_masks_are_those_of_the_layers():
    """A unit that is dropped in all steps of the batch has no influence: its column of the kernel has no gradient."""
    module = rnnx.torch.LSTM(
        3, 6, recurrent_dropout=0.5, recurrent_noise_shape=(1, 1, None), dropout_gates="shared", batch_first=True
    )
    torch.manual_seed(7)
    module(torch.randn(20, 6, 3))[0].sum().backward()
    columns = module.weight_hh_l0.grad.abs().sum(0)
    assert 0 < int((columns == 0).sum()) < 6


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_what_pytorch_alone_can_do():
    plain, ours = pair("LSTM", proj_size=2)
    x = torch.randn(6, 4, 3)
    torch.testing.assert_close(ours(x)[0], plain(x)[0])
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(ours(x)[0], plain(x)[0])
    noisy = rnnx.torch.LSTM(3, 5, recurrent_dropout=0.5)
    with pytest.raises(NotImplementedError, match="autocast"), torch.autocast("cpu", torch.bfloat16):
        noisy(x)
    with pytest.raises(NotImplementedError, match="float16"):
        noisy.half()(x.half())
    with pytest.raises(ValueError, match="proj_size"):
        rnnx.torch.LSTM(3, 5, proj_size=2, recurrent_dropout=0.5)


@pytest.mark.parametrize(
    "wrong", [{"recurrent_dropout": 1.0}, {"recurrent_dropout_mode": "all"}, {"dropout_gates": "some"}, {"zoneout": 2}]
)
def test_unknown_noise_is_refused(wrong):
    with pytest.raises((ValueError, TypeError)):
        rnnx.torch.GRU(3, 4, **wrong)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize(
    ("wrong", "right"), [("recurent_dropout", "recurrent_dropout"), ("batchfirst", "batch_first"), ("mode", "")]
)
def test_unknown_words_are_refused(kind, wrong, right):
    with pytest.raises(
        TypeError, match=f"{kind}: unknown argument.* {wrong}" + (f"; did you mean '{right}'" if right else "")
    ):
        getattr(rnnx.torch, kind)(3, 4, **{wrong: 0.1})


def test_no_memory_is_lost():
    import resource

    module = rnnx.torch.LSTM(16, 32)
    x = torch.randn(20, 8, 16)
    before = 0
    for k in range(1200):
        module(x)[0].sum().backward()
        if k == 200:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4_000
