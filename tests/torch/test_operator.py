"""The registered operator: what PyTorch's compiler, exporter and function transforms see."""

from __future__ import annotations

import pytest
import torch

import rnnx.torch
from rnnx.torch._form import Form, Noise
from rnnx.torch._operator import layer_op

pytestmark = pytest.mark.torch
GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1}
X = torch.linspace(-1, 1, 120).reshape(2, 20, 3)  # so many steps that it runs on rnnx with a gradient too


@pytest.mark.parametrize("time_first", [False, True])
@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("mode", sorted(GATES))
@pytest.mark.filterwarnings("ignore")
def test_opcheck(mode, noisy, time_first):
    rows = GATES[mode] * 4
    x = torch.randn((5, 3, 2) if time_first else (3, 5, 2), requires_grad=True)
    h = torch.randn(2, 3, 4, requires_grad=True)
    c = torch.randn(2, 3, 4, requires_grad=True) if mode == "LSTM" else None
    shapes = [(rows, 2), (rows, 4), (rows,), (rows,)] * 2
    weights = [torch.randn(shape).mul(0.3).requires_grad_() for shape in shapes]
    reset = torch.rand(x.shape[:2]) < 0.4 if noisy else None
    noise = Noise(0.2, 0.3).as_text() if noisy else "{}"
    form = Form(mode, 2, True, time_first, noisy, noise).as_text()
    torch.library.opcheck(layer_op, (x, h, c, None, reset, torch.tensor(3), weights, form))


@pytest.mark.filterwarnings("ignore")
def test_opcheck_of_packed_data():
    sizes, h = torch.tensor([3, 2, 2, 1]), torch.randn(2, 3, 4, requires_grad=True)
    weights = [torch.randn(shape).mul(0.3).requires_grad_() for shape in [(12, 2), (12, 4), (12,), (12,)] * 2]
    form = Form("GRU", 2).as_text()
    x = torch.randn(8, 2, requires_grad=True)
    torch.library.opcheck(layer_op, (x, h, None, sizes, None, torch.tensor(0), weights, form))


@pytest.fixture
def module():
    return rnnx.torch.LSTM(3, 8, num_layers=2, batch_first=True)


@pytest.mark.filterwarnings("ignore")
def test_compile(module):
    import torch._dynamo

    with torch._dynamo.config.patch(allow_rnn=True):
        y = torch.compile(module, fullgraph=True, backend="aot_eager")(X)[0]
    torch.testing.assert_close(y, module(X)[0])
    y.sum().backward()
    gradients = [weight.grad.clone() for weight in module.parameters()]
    module.zero_grad()
    module(X)[0].sum().backward()
    torch.testing.assert_close(gradients, [weight.grad for weight in module.parameters()])


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.filterwarnings("ignore")
def test_compile_that_is_not_told_of_recurrent_modules_leaves_them_as_they_are(kind):
    import torch._dynamo

    class Model(torch.nn.Module):
        def __init__(self, kinds):
            super().__init__()
            self.recurrent, self.head = getattr(kinds, kind)(3, 8, batch_first=True), torch.nn.Linear(8, 2)

        def forward(self, x):
            return self.head(self.recurrent(2 * x)[0])

    plain, ours = Model(torch.nn), Model(rnnx.torch)
    ours.load_state_dict(plain.state_dict())
    torch._dynamo.reset()
    compiled = torch.compile(ours, backend="aot_eager")
    step = torch.compile(lambda x: compiled(x).square().sum().backward(), backend="aot_eager")
    step(X)
    plain(X).square().sum().backward()
    torch.testing.assert_close([p.grad for p in ours.parameters()], [p.grad for p in plain.parameters()])
    with torch.no_grad():
        torch.testing.assert_close(compiled(X), plain(X))


@pytest.mark.filterwarnings("ignore")
def test_export(module):
    program = torch.export.export(module, (X,))
    assert "rnnx.layer" in str(program.graph)
    torch.testing.assert_close(program.module()(X)[0], module(X)[0])


def test_func(module):
    weights = dict(module.named_parameters())

    def total(weights):
        return torch.func.functional_call(module, weights, (X,))[0].sum()

    found = torch.func.grad(total)(weights)
    module(X)[0].sum().backward()
    torch.testing.assert_close(list(found.values()), [weight.grad for weight in module.parameters()])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tracing_mode", ["real", "fake"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_graphs_of_make_fx_hold_the_operator(batch_first, tracing_mode):
    """Real ones are traced as plain tensors; numbers of this call in the graph would be wrong in the next."""
    from torch.fx.experimental.proxy_tensor import make_fx

    module = rnnx.torch.GRU(3, 4, batch_first=batch_first, bidirectional=True)
    with torch.no_grad():
        graph = make_fx(lambda x: module(x)[0], tracing_mode=tracing_mode, _allow_non_fake_inputs=True)(X)
        assert "rnnx.layer" in str(graph.graph)
        other = torch.randn_like(X)
        torch.testing.assert_close(graph(other), module(other)[0])


@pytest.mark.parametrize("training", [False, True])
def test_dispatch_modes_see_the_operator(module, training):
    from torch.utils._python_dispatch import TorchDispatchMode

    seen = []

    class Listener(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.append(str(function))
            return function(*args, **(kwargs or {}))

    with torch.set_grad_enabled(training):
        with Listener():
            y = module(X)[0]
        assert sum(name.startswith("rnnx.layer") for name in seen) == 2
        torch.testing.assert_close(y, module(X)[0])
    if training:
        with Listener():
            y.sum().backward()
        assert sum(name.startswith("rnnx.layer_backward") for name in seen) == 2
        found = [weight.grad.clone() for weight in module.parameters()]
        module.zero_grad()
        module(X)[0].sum().backward()
        torch.testing.assert_close(found, [weight.grad for weight in module.parameters()])


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_fake_tensors_have_the_shapes_of_real_ones(batch_first, kind):
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

    made = {}
    for fake in (False, True):
        with FakeTensorMode() if fake else torch.no_grad():
            module = getattr(rnnx.torch, kind)(3, 4, 2, bidirectional=True, batch_first=batch_first)
            y, state = module(torch.zeros(20, 20, 3))
            parts = (y, *state) if kind == "LSTM" else (y, state)
            assert all(isinstance(part, FakeTensor) == fake for part in parts)
            made[fake] = [(part.shape, part.stride(), part.dtype) for part in parts]
    assert made[False] == made[True]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("wanted", [False, True])
def test_forward_mode_is_refused_with_and_without_a_gradient(wanted):
    from torch.autograd import forward_ad

    module = rnnx.torch.GRU(3, 4).requires_grad_(wanted)
    with forward_ad.dual_level():
        x = forward_ad.make_dual(torch.randn(20, 2, 3), torch.ones(20, 2, 3))
        with pytest.raises(NotImplementedError, match="jvp"):
            module(x)
        module(torch.randn(20, 2, 3))  # of which nobody asks for a derivative


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_jacobians_are_made_row_by_row(kind):
    plain, ours = (getattr(kinds, kind)(3, 2, bidirectional=True) for kinds in (torch.nn, rnnx.torch))
    ours.load_state_dict(plain.state_dict())
    x = X.reshape(20, 2, 3)
    weights = {name: weight.detach() for name, weight in plain.named_parameters()}
    expected, got = (
        torch.func.jacrev(lambda w, x, m=m: torch.func.functional_call(m, w, (x,))[0][-2:], argnums=(0, 1))(weights, x)
        for m in (plain, ours)
    )
    torch.testing.assert_close(got, expected)


def test_what_transforms_cannot_have_is_refused():
    module = rnnx.torch.GRU(3, 4)
    x = torch.randn(20, 2, 3)
    with pytest.raises(RuntimeError, match="vmap"):
        torch.func.vmap(lambda x: module(x)[0])(torch.randn(3, 20, 2, 3))
    with pytest.raises(NotImplementedError, match="jvp"):
        torch.func.jvp(lambda x: module(x)[0], (x,), (x,))
    with pytest.raises((RuntimeError, NotImplementedError)):
        torch.func.grad(lambda x: torch.func.grad(lambda x: module(x)[0].pow(2).sum())(x).sum())(x)


@pytest.mark.filterwarnings("ignore")
def test_jit_gets_the_plain_module(module):
    scripted = torch.jit.script(torch.nn.Sequential(module))
    torch.testing.assert_close(scripted(X)[0], module(X)[0])
    with pytest.raises(TypeError, match="recurrent dropout"):
        torch.jit.script(rnnx.torch.LSTM(3, 4, recurrent_dropout=0.1))
