"""What is cut off from the input, inside the model, is an error that names the place and never a wrong map."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from reluscope.entries import metric
from reluscope.errors import ObservationError
from reluscope.observation import affine, observe


def draw(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Two(nn.Module):
    """Two linear layers; what happens between them is a function of the module and its input."""

    def __init__(self, between):
        super().__init__()
        self.backbone, self.head, self.between = nn.Linear(6, 5), nn.Linear(5, 3), between
        with torch.no_grad():
            for number, parameter in enumerate(self.parameters()):
                parameter.data = draw(*parameter.shape, seed=number)

    def forward(self, x):
        return self.head(self.between(self.backbone, x))


class Straight(torch.autograd.Function):
    """Rounds; its derivative says that it does not."""

    @staticmethod
    def forward(context, x):
        return (2 * x).round() / 2

    @staticmethod
    def backward(context, gradient):
        return gradient


class Relu(torch.autograd.Function):
    """A ReLU with its own, right derivative."""

    @staticmethod
    def forward(context, x):
        context.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(context, gradient):
        (x,) = context.saved_tensors
        return gradient * (x > 0)


def frozen(backbone, x):
    with torch.no_grad():
        return backbone(x).relu()


def frozen_in_place(backbone, x):
    z = backbone(x).relu() * 1
    with torch.no_grad():
        z.mul_(2)
    return z


def frozen_view(backbone, x):
    z = backbone(x).relu() * 1
    with torch.no_grad():
        z[:, 1:].mul_(2)
    return z


def inferred(backbone, x):
    with torch.inference_mode():
        z = backbone(x).relu()
    return z.clone()


def through_numpy(backbone, x):
    return torch.from_numpy(np.maximum(backbone(x).detach().numpy(), 0)) + 0 * x[:, :1].relu()


def written(backbone, x):
    z = backbone(x).relu() * 1
    z[:, 0] = z[:, 0].detach()
    return z


def assigned(backbone, x):
    z = backbone(x).relu() * 1
    z.data = 2 * z.data
    return z


CUT = {
    "no_grad": (frozen, r"cut off from the input by 'linear' under torch.no_grad\(\) in 'backbone'.*take the cut away"),
    "no_grad in place": (frozen_in_place, "'mul' under torch.no_grad.* in the root module"),
    "no_grad in place on a view": (frozen_view, "under torch.no_grad.* in the root module"),
    "inference mode": (inferred, "'linear' under torch.no_grad.*in 'backbone'"),
    "detach": (lambda b, x: b(x).relu() + 3 * b(x).detach(), "cut off from the input by 'detach' in the root module"),
    "data": (lambda b, x: b(x).relu() + b(x).data, "cut off from the input by 'data'"),
    "written": (written, "cut off from the input by 'detach'"),
    "assigned": (assigned, "cut off from the input by 'data'"),
    "numpy": (through_numpy, "affine map is wrong.*'numpy', which hands values to code outside torch"),
    "number": (lambda b, x: b(x).relu() * x[0, 0].item(), "affine map is wrong.*'item', which hands values"),
    "straight-through": (lambda b, x: Straight.apply(b(x).relu()), "affine map is wrong.*function 'Straight'"),
    "straight-through written out": (
        lambda b, x: b(x).relu() + (b(x).round() - b(x)).detach(),
        "cut off from the input by 'detach'",
    ),
    "fake quantisation": (
        lambda b, x: torch.fake_quantize_per_tensor_affine(b(x).float().relu(), 0.1, 0, 0, 255).double(),
        "straight-through derivative of 'fake_quantize",
    ),
}


@metric(needs={"affine"})
def slope(observation):
    """Mean of W."""
    return observation.affine().weight.mean()


ASKED = [
    (case, ask)
    for case, (_, message) in CUT.items()
    for ask in ("affine", "unchecked", "metric")
    if ask != "unchecked" or "wrong" not in message  # which only the values show
]


@pytest.mark.parametrize(("case", "ask"), ASKED)
def test_a_cut_is_an_error_that_names_it(case, ask):
    between, message = CUT[case]
    model, x = Two(between), draw(4, 6)
    operator = affine(model, x, check=ask == "affine")
    observation = observe(model, x, affine=True)
    with pytest.raises(ObservationError, match=message):
        slope.measure(observation) if ask == "metric" else list(operator)


def test_a_map_to_a_site_before_the_cut_stands():
    def late(backbone, x):
        return backbone(backbone(x).relu() @ torch.ones(5, 6).double()).detach().relu()

    model, x = Two(late), draw(4, 6)
    observation = observe(model, x, affine=True)
    weight, offset = observation.affine("relu#0")
    torch.testing.assert_close(torch.einsum("noi,ni->no", weight, x) + offset, observation.preactivation["relu#0"])
    for site in ("relu#1", None):
        with pytest.raises(ObservationError, match="by 'detach'"):
            list(observation.affine(site))


def test_a_map_to_a_site_after_a_wrong_derivative_is_refused():
    model, x = Two(lambda b, x: Straight.apply(b(x).relu()).relu()), draw(4, 6)
    observation = observe(model, x, affine=True)
    assert observation.affine("relu#0").weight.any()
    with pytest.raises(ObservationError, match="custom autograd function 'Straight'"):
        list(observation.affine("relu#1"))


def watched(backbone, x):
    seen = backbone(x).relu()
    backbone.log = [seen.detach().numpy(), seen.mean().item(), seen.detach().mean()]
    with torch.no_grad():
        seen.view(-1).norm()
    return seen


def counted(backbone, x):
    z = backbone(x).relu()
    with torch.no_grad():
        winner, level = z.argmax(1), torch.sign(z)
        late = torch.zeros_like(z) + torch.broadcast_tensors(z, torch.ones(()).double())[1]
    return z + F.one_hot(winner, 5) + level + late


LEGITIMATE = {
    "a mask": lambda b, x: b(x) * (b(x) > 0).to(b(x)) + 0 * x[:, :1].relu(),
    "a mask of detached values": lambda b, x: torch.where(b(x).detach() > 0, b(x), 0).relu(),
    "constant on a piece": counted,
    "looked at and dropped": watched,
    "a right custom function": lambda b, x: Relu.apply(b(x)) + 0 * x[:, :1].relu(),
    "a constant under no_grad": lambda b, x: b(x).relu() + b.weight.detach().sum() + b.bias.data,
    "shapes and types": lambda b, x: b(x).relu() + torch.ones(5).type_as(x).expand_as(b(x)) * x.new_ones(()) / len(x),
}


@pytest.mark.parametrize("case", LEGITIMATE)
def test_what_is_no_cut(case):
    model, x = Two(LEGITIMATE[case]), draw(4, 6)
    for weight, offset in (affine(model, x), observe(model, x, affine=True).affine()):
        y = x + 1e-7 * draw(4, 6, seed=9)
        with torch.no_grad():
            expected = model(y)
        torch.testing.assert_close(torch.einsum("noi,ni->no", weight, y) + offset, expected, rtol=1e-12, atol=1e-12)
        assert weight.any()


def test_how_many_passes():
    for between, once in ((lambda b, x: b(x).relu(), 1), (lambda b, x: Relu.apply(b(x)), 3)):
        model, calls = Two(between), []
        model.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        observe(model, draw(4, 6), affine=True)
        assert len(calls) == once
        observe(model, draw(4, 6))
        assert len(calls) == once + 1
        affine(model, draw(4, 6), check=False)
        assert len(calls) == once + 2
        affine(model, draw(4, 6))
        assert len(calls) == once + 5


def test_a_sample_at_a_kink_and_values_far_from_one_are_left_alone():
    x = draw(3, 6)
    x[1] = 0
    for function in (torch.abs, torch.relu, lambda x: x.amax(1, keepdim=True), lambda x: x.relu() + 1e9):
        model = Two(lambda b, x, f=function: f(x)[:, :1] + b(x))
        assert affine(model, x).weight.any()
        assert affine(model.float(), x.float()).weight.any()


def test_the_check_leaves_model_and_random_state_alone():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros((), dtype=torch.float64))

        def forward(self, x):
            self.calls += 1
            return x.relu() * self.calls.item()

    model = Counting()
    state = torch.get_rng_state()
    assert affine(model, draw(3, 2)).weight.any()
    assert model.calls == 0
    assert torch.equal(torch.get_rng_state(), state)


def test_a_model_that_takes_no_other_input():
    here = draw(4, 6)

    def strict(custom):
        def between(backbone, x):
            if not torch.equal(x.detach(), here):
                raise ValueError("out of range")
            return custom(backbone(x))

        return Two(between)

    assert affine(strict(torch.relu), here).weight.any()
    with pytest.raises(ObservationError, match=r"'Relu'.*raised ValueError beside its input.*out of range"):
        affine(strict(Relu.apply), here)
    assert affine(strict(Relu.apply), here, check=False).weight.any()


def test_large_networks_in_single_precision_pass_the_check():
    layers = [nn.Linear(16, 128), nn.ReLU()]
    for _ in range(8):
        layers += [nn.Linear(128, 128), nn.ReLU()]
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2, padding=1), nn.Flatten(), *layers, nn.Linear(128, 1))
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            fan = max(parameter[0].numel(), 1)
            parameter.copy_(draw(*parameter.shape, seed=number) * (2 / fan) ** 0.5)
    x = draw(300, 1, 4, 4).float()
    weight, offset = affine(model, x)
    rebuilt = torch.einsum("noi,ni->no", weight, x.flatten(1)) + offset
    torch.testing.assert_close(rebuilt, model(x).detach(), rtol=1e-3, atol=1e-3)


def test_wrong_derivatives_are_found_in_single_precision_too():
    model = Two(lambda b, x: Straight.apply(b(x).relu())).float()
    with pytest.raises(ObservationError, match="'Straight'"):
        list(affine(model, draw(40, 6).float()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_check_on_a_gpu():
    right, wrong = Two(lambda b, x: Relu.apply(b(x))).cuda(), Two(lambda b, x: Straight.apply(b(x).relu())).cuda()
    assert affine(right, draw(4, 6).cuda()).weight.any()
    assert affine(right.float(), draw(4, 6).float().cuda()).weight.any()
    with pytest.raises(ObservationError, match="'Straight'"):
        list(affine(wrong, draw(4, 6).cuda()))
