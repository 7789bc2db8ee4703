"""The affine map against the explicit matrix product, and against the network itself on the same piece."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from reluscope.affine_map import AffineMap
from reluscope.errors import ObservationError, UnknownNameError
from reluscope.observation import affine, observe


def draw(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def seeded(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    model.double()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                values = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
                tensor.copy_(values.abs() + 0.5 if name.endswith("running_var") else values / tensor[0].numel() ** 0.5)
    return model.eval()


def mlp(widths, bias=True, activation=nn.ReLU):
    layers = []
    for width, following in pairwise(widths):
        layers += [nn.Linear(width, following, bias=bias), activation()]
    return nn.Sequential(*layers[:-1])


def product(model, x):
    """W = W_n Z_{n-1} ... Z_1 W_1 and its offset for one sample, with the masks written as matrices."""
    weight, offset = torch.eye(x.numel(), dtype=x.dtype), torch.zeros(x.numel(), dtype=x.dtype)
    for layer in model:
        if isinstance(layer, nn.Linear):
            weight, offset = layer.weight @ weight, layer.weight @ offset
            offset = offset if layer.bias is None else offset + layer.bias
        else:
            mask = torch.diag((weight @ x + offset > 0).to(x.dtype))
            weight, offset = mask @ weight, mask @ offset
    return weight.detach(), offset.detach()


@given(
    widths=st.lists(st.integers(1, 7), min_size=2, max_size=5),
    bias=st.booleans(),
    batch=st.integers(1, 4),
    seed=st.integers(0, 10_000),
)
def test_against_the_matrix_product(widths, bias, batch, seed):
    model, x = seeded(mlp(widths, bias), seed), draw(batch, widths[0], seed=seed + 1)
    weight, offset = affine(model, x)
    assert weight.shape == (batch, widths[-1], widths[0])
    assert offset.shape == (batch, widths[-1])
    for n in range(batch):
        expected_weight, expected_offset = product(model, x[n])
        torch.testing.assert_close(weight[n], expected_weight, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(offset[n], expected_offset, rtol=1e-12, atol=1e-13)


@given(
    widths=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    batch=st.integers(1, 3),
    seed=st.integers(0, 10_000),
)
def test_operator_against_the_formed_matrix(widths, batch, seed):
    model, x = seeded(mlp(widths, activation=nn.LeakyReLU), seed), draw(batch, widths[0], seed=seed + 1)
    operator = affine(model, x)
    v, u = draw(batch, widths[0], seed=seed + 2), draw(batch, widths[-1], seed=seed + 3)
    forward, backward = operator.matvec(v), operator.rmatvec(u)
    assert "weight" not in vars(operator), "the matrix was formed"
    torch.testing.assert_close(forward, torch.einsum("noi,ni->no", operator.weight, v), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(backward, torch.einsum("noi,no->ni", operator.weight, u), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close((u * forward).sum(1), (backward * v).sum(1), rtol=1e-12, atol=1e-13)


class Residual(nn.Module):
    """Batch norm, a max-pool, a residual sum, in-place activations, a concatenation, average pools."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.BatchNorm2d(4)
        self.relu, self.pool, self.drop = nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout(0.3)
        self.head = nn.Linear(2 * 4 * 2 * 2, 3)

    def forward(self, x):
        x = self.pool(self.relu(self.bn1(self.conv1(x))))
        x = self.relu(self.bn2(self.conv2(x)) + x)
        x = torch.cat([F.adaptive_avg_pool2d(x, 2), F.adaptive_max_pool2d(x, 2)], 1)
        return self.head(self.drop(x.flatten(1)))


def small(name, **arguments):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return getattr(torchvision.models, name)(weights=None, num_classes=4, **arguments).double().eval()


NETWORKS = {
    "mlp": (lambda: seeded(mlp([5, 8, 8, 3])), (3, 5)),
    "prelu": (lambda: seeded(mlp([5, 8, 8, 3], activation=nn.PReLU)), (3, 5)),
    "relu6": (lambda: seeded(mlp([5, 8, 3], activation=nn.ReLU6)), (3, 5)),
    "hardtanh": (lambda: seeded(mlp([5, 8, 3], activation=nn.Hardtanh)), (3, 5)),
    "hardsigmoid": (lambda: seeded(mlp([5, 8, 3], activation=nn.Hardsigmoid)), (3, 5)),
    "hardsigmoid in place": (
        lambda: seeded(mlp([5, 8, 3], activation=lambda: nn.Hardsigmoid(inplace=True))),
        (3, 5),
    ),
    "rrelu": (lambda: seeded(mlp([5, 8, 3], activation=nn.RReLU)), (3, 5)),
    "residual": (lambda: seeded(Residual()), (3, 2, 8, 8)),
    "resnet18": (lambda: small("resnet18"), (1, 3, 32, 32)),
    "squeezenet1_1": (lambda: small("squeezenet1_1"), (1, 3, 32, 32)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_against_the_network_on_the_same_piece(name):
    build, shape = NETWORKS[name]
    model, x = build(), draw(*shape)
    observation = observe(model, x, affine=True)
    weight, offset = observation.affine()
    found = 0
    for seed in range(4):
        step = draw(*shape, seed=seed + 7)
        # Shrink until every unit and every pool is as at x: then y lies on the piece of x, which is convex.
        for exponent in range(1, 12):
            y = x + 4.0**-exponent * step
            other = observe(model, y)
            if all(torch.equal(other.pattern[s], observation.pattern[s]) for s in observation.pattern):
                found += 1
                expected = torch.einsum("noi,ni->no", weight, y.flatten(1)) + offset
                torch.testing.assert_close(other.output, expected, rtol=1e-10, atol=1e-12)
                break
    assert found >= 3, "the case tests nothing"


@pytest.mark.parametrize("operation", ["abs", "clamp", "cat", "maximum", "sort", "amax", "softshrink", "threshold"])
def test_other_piecewise_linear_operations(operation):
    functions = {
        "abs": lambda x: x.abs() - 3,
        "clamp": lambda x: x.clamp(-0.3, 0.3),
        "cat": lambda x: torch.cat([x, 2 * x], 1),
        "maximum": lambda x: torch.maximum(x, 1 - x),
        "sort": lambda x: x.sort(1).values,
        "amax": lambda x: x.amax(1, keepdim=True),
        "softshrink": F.softshrink,
        "threshold": lambda x: F.threshold(x, 0.1, 2.0),
    }
    model, x = Then(functions[operation]), draw(4, 6)
    operator = affine(model, x)
    y = x + 1e-9 * draw(4, 6, seed=2)
    with torch.no_grad():
        expected = model(y)
    torch.testing.assert_close(operator.matvec(y) + operator.bias, expected, rtol=1e-12, atol=1e-12)


class Then(nn.Module):
    """A linear layer, a ReLU, then anything."""

    def __init__(self, function):
        super().__init__()
        self.linear, self.then = nn.Linear(6, 6), function
        seeded(self.linear)

    def forward(self, x):
        return self.then(self.linear(x).relu() + x)


REFUSED = {
    "softmax": (lambda x: x.softmax(-1), "'softmax'"),
    "square": (lambda x: x * x, "'mul'"),
    "power": (lambda x: x**3, "'pow'"),
    "quotient": (lambda x: x / (x.sum(1, keepdim=True) + 50), "'div|truediv'"),
    "layer norm": (nn.LayerNorm(6, dtype=torch.float64), "'layer_norm'.*in 'then'"),
    "attention": (
        lambda x: F.scaled_dot_product_attention(*[x.view(-1, 3, 2)] * 3).flatten(1),
        "dot_product_attention",
    ),
    "attention module": (
        lambda x: nn.MultiheadAttention(2, 1, batch_first=True, dtype=torch.float64)(*[x.view(-1, 3, 2)] * 3)[
            0
        ].flatten(1),
        "multi_head_attention|random",
    ),
    "hand-made square": (lambda x: torch.linalg.multi_dot([x, x.T, x]), "cannot name"),
    "elu": (F.elu, "smooth activation 'elu' in 'elu#0'"),
    "gelu": (nn.GELU(), "smooth activation 'gelu' in 'then#0'"),
    "hardswish": (nn.Hardswish(), "smooth activation 'hardswish'"),
    "tanh in place": (lambda x: x.tanh_(), "smooth activation 'tanh'"),
    "gate": (lambda x: x * F.hardsigmoid(x), "'mul'"),
    "dropout": (nn.Dropout(0.5), "active dropout .* in 'then'"),
    "batch norm": (nn.BatchNorm1d(6, dtype=torch.float64), "batch norm .*in 'then'.*model.eval"),
    "noise": (lambda x: x + torch.randn_like(x), "random function 'randn_like'"),
    "mixing": (lambda x: x - x.mean(0), "depends on another sample"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_affine_is_refused_by_name(case):
    function, message = REFUSED[case]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Then(function).train()
    operator = affine(model, draw(4, 6))
    for ask in (
        lambda: operator.weight,
        lambda: operator.bias,
        lambda: operator.matvec(draw(4, 6)),
        lambda: list(operator),
    ):
        with pytest.raises(ObservationError, match=message):
            ask()


def test_what_is_harmless_in_eval_mode_is_not_refused():
    for function in (nn.Dropout(0.5), nn.BatchNorm1d(6, dtype=torch.float64)):
        model, x = Then(function).eval(), draw(4, 6)
        weight, offset = affine(model, x)
        torch.testing.assert_close(torch.einsum("noi,ni->no", weight, x) + offset, model(x).detach())


def test_what_lies_beside_or_beyond_is_not_refused():
    class Branches(nn.Module):
        def forward(self, x):
            hidden = (2 * x).relu()
            unused = hidden.tanh()
            later = F.hardtanh(hidden - 1)
            return later.exp() + 0 * unused.detach()

    x = draw(3, 4)
    observation = observe(Branches(), x, affine=True)
    assert observation.sites == ("relu#0", "tanh#0", "hardtanh#0")
    for site in ("relu#0", "hardtanh#0", "tanh#0"):
        weight, offset = observation.affine(site)
        rebuilt = torch.einsum("noi,ni->no", weight, x) + offset
        torch.testing.assert_close(rebuilt, observation.preactivation[site])
    with pytest.raises(ObservationError, match="'exp'"):
        list(observation.affine())


def test_maps_to_sites_have_the_order_of_preactivations():
    model, x = seeded(Residual()), draw(3, 2, 8, 8)
    observation = observe(model, x, affine=True)
    for name in observation.sites:
        operator, site = observation.affine(name), observation.site[name]
        assert operator.shape == (3, site.units * site.positions, 128)
        rebuilt = operator.matvec(x.flatten(1)) + operator.bias
        torch.testing.assert_close(rebuilt.view(-1, site.units), observation.preactivation[name])
    # The first site has no bend before it, so its map is the same for all samples.
    weight = observation.affine("relu#0").weight
    torch.testing.assert_close(weight[0], weight[2])
    assert observation.affine("relu#0") is observation.affine("relu#0")
    with pytest.raises(UnknownNameError, match="Did you mean 'relu#1'"):
        observation.affine("relu#7")


def test_both_sides_and_chunks_give_the_same_matrix(monkeypatch):
    import reluscope.graph_derivative as module

    for widths in ([4, 9, 6], [6, 9, 4]):
        model, x = seeded(mlp(widths)), draw(3, widths[0])
        whole = affine(model, x).weight
        monkeypatch.setattr(module, "_CHUNK_ON_CPU", 60)
        torch.testing.assert_close(affine(model, x).weight, whole)
        monkeypatch.undo()
        for n in range(3):
            torch.testing.assert_close(whole[n], product(model, x[n])[0])


class Doubled(torch.autograd.Function):
    """A custom function whose derivative vmap cannot take."""

    @staticmethod
    def forward(context, x):
        return 2 * x

    @staticmethod
    def backward(context, gradient):
        if gradient.sum().item() == 0.125:
            return gradient
        return 2 * gradient


def test_derivatives_that_cannot_be_vectorised():
    x = draw(3, 6)
    plain = affine(Then(lambda x: 2 * x), x).weight
    torch.testing.assert_close(affine(Then(Doubled.apply), x).weight, plain)


def test_a_linear_model_and_one_that_ignores_its_input():
    model, x = seeded(nn.Linear(5, 3)), draw(4, 5)
    weight, offset = affine(model, x)
    assert torch.equal(weight, model.weight.detach().expand(4, 3, 5))
    torch.testing.assert_close(offset, model.bias.detach().expand(4, 3))

    class Constant(nn.Module):
        def forward(self, x):
            return torch.ones(len(x), 2, dtype=x.dtype)

    operator = affine(Constant(), x)
    assert torch.equal(operator.weight, torch.zeros(4, 2, 5, dtype=torch.float64))
    assert torch.equal(operator.bias, torch.ones(4, 2, dtype=torch.float64))
    assert torch.equal(operator.rmatvec(draw(4, 2)), torch.zeros(4, 5, dtype=torch.float64))


def test_several_inputs_are_concatenated():
    class Two(nn.Module):
        def forward(self, left, index, right):
            return (left.sum(1) - 2 * right).relu() + index.unsqueeze(1)

    left, right, index = draw(4, 2, 3), draw(4, 3, seed=2), torch.arange(4)
    weight, offset = affine(Two(), {"left": left, "index": index, "right": right})
    active = (left.sum(1) - 2 * right > 0).double()
    expected = torch.stack(
        [torch.diag(a) @ torch.cat([torch.eye(3).double()] * 2 + [-2 * torch.eye(3).double()], 1) for a in active]
    )
    torch.testing.assert_close(weight, expected)
    torch.testing.assert_close(offset, index.double().unsqueeze(1).expand(4, 3))


def test_parameters_need_not_require_gradients_and_get_none():
    model, x = seeded(mlp([5, 8, 3])), draw(3, 5)
    expected = affine(model, x).weight
    model.requires_grad_(False)
    assert torch.equal(affine(model, x).weight, expected)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_map_stands_when_the_model_changes():
    model, x = seeded(mlp([5, 8, 3])), draw(3, 5)
    operator = affine(model, x)
    with torch.no_grad():
        model[0].weight.add_(1)
    with pytest.raises(ObservationError, match="weights were changed"):
        list(operator)


def test_bad_arguments():
    model, x = seeded(mlp([5, 8, 3])), draw(4, 5)
    operator = affine(model, x)
    assert isinstance(operator, AffineMap)
    with pytest.raises(ObservationError, match=r"shape \(5,\), expected \(sample, in\) = \(4, 5\)"):
        operator.matvec(x[0])
    with pytest.raises(ObservationError, match=r"expected \(sample, out\) = \(4, 3\)"):
        operator.rmatvec(x)

    class Pair(nn.Module):
        def forward(self, x):
            return x.relu(), x

    with pytest.raises(ObservationError, match="returns tuple"):
        affine(Pair(), x)
    with pytest.raises(ObservationError, match="expected samples first"):
        affine(Then(lambda x: x.sum()), draw(4, 6))
    with pytest.raises(ObservationError, match="no floating-point tensor"):
        affine(nn.Embedding(9, 3), torch.arange(4))


def test_single_precision_and_autocast():
    model, x = seeded(mlp([5, 8, 3])).float(), draw(3, 5).float()
    assert affine(model, x).weight.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        operator = affine(model, x)
        weight, offset = operator
    assert weight.dtype == offset.dtype == torch.float32
    torch.testing.assert_close(weight, affine(model, x).weight, rtol=0.1, atol=0.1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu():
    model, x = seeded(Residual()), draw(3, 2, 8, 8)
    weight, offset = affine(model, x)
    on_gpu = affine(model.cuda(), x.cuda())
    torch.testing.assert_close(on_gpu.weight.cpu(), weight)
    torch.testing.assert_close(on_gpu.bias.cpu(), offset)


def test_a_model_made_in_inference_mode_is_refused_and_left_alone():
    with torch.inference_mode():
        model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2)).double().eval()
    with pytest.raises(ObservationError, match=r"'0.weight' was made under torch.inference_mode.*deepcopy"):
        affine(model, draw(4, 3))
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert observe(model, draw(4, 3)).sites == ("2#0",)
    assert affine(copy.deepcopy(model), draw(4, 3)).weight.shape == (4, 2, 3)


def test_a_model_may_look_at_its_own_values():
    class Asking(nn.Linear):
        def forward(self, x):
            z = torch.relu(super().forward(x))
            return z if float(z.sum()) < 1e9 else -z

    x = draw(4, 3)
    model = Asking(3, 2).double()
    weight, bias = affine(model, x)
    with torch.no_grad():
        assert torch.allclose(torch.einsum("noi,ni->no", weight, x) + bias, model(x))
