"""The operations of a quantised network, against counts by hand and by loops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import reluscope as rs
from reluscope import schema
from reluscope.errors import QuantizationError
from reluscope.lab import Lab
from reluscope_plugins import number_systems
from reluscope_plugins.number_systems.cost import operation_cost

LAB = Lab(plugins=[number_systems])


class Twice(nn.Module):
    """A convolution that is called twice, a strided one in groups, a transposed one, and a linear one of sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Conv2d(2, 2, 3, padding=1)
        self.norm = nn.BatchNorm2d(2)
        self.grouped = nn.Conv2d(2, 4, 2, stride=2, groups=2)
        self.transposed = nn.ConvTranspose2d(4, 3, 2)
        self.linear = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.same(torch.relu(self.same(x)))
        return self.linear(self.transposed(self.grouped(self.norm(x))))


def network() -> Twice:
    torch.manual_seed(0)
    return Twice().eval()


# (2, 6, 6) -> twice (2, 6, 6) -> (4, 3, 3) -> (3, 4, 4) -> rows of 4: 3 * 4 of them
BY_HAND = {
    "same": 2 * 36 * (2 * 2 * 9),
    "grouped": 9 * (4 * 1 * 4),
    "transposed": 9 * (4 * 3 * 4),
    "linear": 12 * (4 * 5),
}


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("draws", ["pass", "product", "held"])
def test_counts_by_hand(draws: str, batch: int) -> None:
    model, x = network(), torch.randn(batch, 2, 6, 6)
    rs.quantize_(model, "psb", samples={"": 4, "linear": 32}, draws=draws, lab=LAB)
    cost = operation_cost(model, x)
    schema.validate(cost)
    assert dict(zip(cost.layer.values.tolist(), cost.float_multiply_adds.values.tolist(), strict=True)) == BY_HAND
    samples = [4, 4, 4, 32]
    products = [count * number for count, number in zip(BY_HAND.values(), samples, strict=True)]
    assert cost.additions.values.tolist() == products
    assert cost.shifts.values.tolist() == products
    assert not cost.multiply_adds.any()
    sizes = [2 * 2 * 9, 4 * 4, 4 * 3 * 4, 20]
    calls = [1 if draws == "held" else 2, 1, 1, 1]
    drawn = [size * count * number / batch for size, count, number in zip(sizes, calls, samples, strict=True)]
    assert cost.random_bits.values.tolist() == pytest.approx(products if draws == "product" else drawn)
    assert cost.float_weight_bits.values.tolist() == [32 * size for size in sizes]


def test_the_network_is_left_as_found() -> None:
    model, other, x = network().train(), network().train(), torch.randn(2, 2, 6, 6)
    for one in (model, other):
        rs.quantize_(one, "psb", samples=2, lab=LAB)
    state = torch.get_rng_state()
    operation_cost(model, x)
    assert torch.equal(torch.get_rng_state(), state)
    assert [type(module) for module in model.modules()] == [type(module) for module in other.modules()]
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(model.eval()(x), other.eval()(x))


def test_zeros_cost_nothing() -> None:
    model = nn.Linear(10, 10)
    with torch.no_grad():
        model.weight[0] = 0.0
    rs.quantize_(model, "psb", samples=2, prune=0.4, lab=LAB)
    cost = operation_cost(model, torch.randn(1, 10))
    assert cost.additions.values.tolist() == [2 * 60]
    assert cost.zero_share.values.tolist() == pytest.approx([0.4])
    assert cost.float_multiply_adds.values.tolist() == [100]
    rs.set_samples_(model, 5)
    assert operation_cost(model, torch.randn(1, 10)).additions.values.tolist() == [5 * 60]


def test_a_deterministic_system_multiplies_once() -> None:
    model = nn.Linear(3, 2)
    rs.quantize_(model, "float32", samples=64, lab=LAB)
    cost = operation_cost(model, torch.randn(4, 3))
    assert cost.multiply_adds.values.tolist() == [6]
    assert not (cost.additions + cost.shifts + cost.random_bits).any()
    assert cost.weight_bits.values.tolist() == cost.float_weight_bits.values.tolist() == [6 * 32]


def test_a_network_in_floating_point_is_refused() -> None:
    with pytest.raises(QuantizationError, match="quantize_"):
        operation_cost(network(), torch.randn(1, 2, 6, 6))


def test_a_refinement_costs_only_the_new_draws() -> None:
    model, x = network(), torch.randn(3, 2, 6, 6)
    rs.quantize_(model, "psb", samples=4, draws="held", lab=LAB)
    whole = operation_cost(model, x)
    assert operation_cost(model, x, refinement=True).equals(whole)
    model(x)
    assert float(operation_cost(model, x, refinement=True).additions.sum()) == 0
    rs.refine_(model, {"": 6, "linear": 28})
    extra, after = operation_cost(model, x, refinement=True), operation_cost(model, x)
    assert extra.additions.values.tolist() == [6 * BY_HAND[name] for name in BY_HAND if name != "linear"] + [
        28 * BY_HAND["linear"]
    ]
    for variable in ("additions", "shifts", "random_bits"):
        assert (extra[variable] + whole[variable] == after[variable]).all()
    rs.set_samples_(model, 2)  # fewer are drawn anew
    assert float(operation_cost(model, x, refinement=True).shifts.sum()) == 2 * sum(BY_HAND.values())


def test_only_held_draws_are_refined() -> None:
    model = network()
    rs.quantize_(model, "psb", lab=LAB)
    with pytest.raises(QuantizationError, match="draws='held'"):
        operation_cost(model, torch.randn(1, 2, 6, 6), refinement=True)


@pytest.mark.parametrize(
    ("dtype", "plain", "chosen"),
    [(torch.float64, 64, 16), (torch.float32, 32, 13), (torch.float16, 16, 10), (torch.bfloat16, 16, 13)],
)
def test_weight_bits_are_those_of_the_weights_type(dtype: torch.dtype, plain: int, chosen: int) -> None:
    model = nn.Sequential(nn.Linear(4, 3)).to(dtype)
    for system, bits in (("psb", plain), ({"name": "psb", "probability_bits": 4}, chosen), ("uniform", 8)):
        report = rs.quantize_(model, system, activations=None, lab=LAB)
        cost = operation_cost(model, torch.randn(2, 4, dtype=dtype))
        assert (report.weight_bits.item(), cost.weight_bits.item()) == (bits, 12 * bits)
        rs.restore_(model)


def test_the_report_counts_the_operations_of_a_product() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.Linear(3, 2))
    report = rs.quantize_(model, "psb", samples={"0": 4, "2": 7}, lab=LAB)
    schema.validate(report)
    for variable in ("additions", "shifts", "random_bits"):
        assert report[variable].values.tolist() == [4, 0, 7]
    assert "operation_cost" in report.attrs["cost"]
    rs.restore_(model)
    report = rs.quantize_(model, "uniform", lab=LAB)
    assert report.multiply_adds.values.tolist() == [1, 0, 1]
