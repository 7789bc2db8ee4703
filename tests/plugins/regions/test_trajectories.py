"""Lengths of images against dense sampling and closed forms; expected growth against bounds, with error bars."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.integrate
import torch
from torch import nn

from reluscope.errors import ObservationError, RecipeError
from reluscope_plugins.regions.random_networks import random_network
from reluscope_plugins.regions.trajectories import circle, trajectory_lengths, trajectory_projection
from reluscope_plugins.regions.trajectory_bounds import (
    expected_length,
    least_projection,
    length_lower_bound,
    length_upper_bound,
    raghu_growth,
)

KINDS = ("gaussian", "uniform", "discrete")
ERROR_OF_NORMAL = 4.9  # of a standard normal, exceeded to one side with probability 4.8e-7


def drawn(widths: list[int], seed: int, **params: object) -> nn.Sequential:
    return random_network(widths, generator=torch.Generator().manual_seed(seed), **params)  # type: ignore[arg-type]


def test_lengths_are_the_limit_of_sampled_sums_from_below() -> None:
    model = drawn([3, 30, 30, 2], 0, weight_std=2.0, bias_std=0.3)
    points = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = trajectory_lengths(model, points)
    t = torch.linspace(0, 1, 40_001, dtype=torch.float64)[:, None]
    sampled = torch.cat([a + t * (b - a) for a, b in itertools.pairwise(points)])
    values, lengths = sampled, []
    with torch.no_grad():
        for layer in model:
            values = layer(values)
            lengths.append(float(values.diff(dim=0).norm(dim=1).sum()))
    exact = [*found.preactivation_length.values, *found.activation_length.values, float(found.output_length)]
    for length, limit in zip([lengths[0], lengths[2], lengths[1], lengths[3], lengths[4]], exact, strict=True):
        # each sampled step that crosses one of the hundreds of breakpoints cuts its corner; none lengthens it
        assert limit * (1 - 1e-4) < length <= limit * (1 + 1e-12)
    assert float(found.input_length) == pytest.approx(float(points.diff(dim=0).norm(dim=1).sum()), rel=1e-14)


def test_the_length_of_a_network_of_one_input_is_its_total_variation() -> None:
    model = drawn([1, 12, 12, 1], 3, weight_std=2.0, bias_std=1.0)
    found = trajectory_lengths(model, torch.tensor([[-2.0], [2.0]]))
    t = torch.linspace(-2, 2, 400_001, dtype=torch.float64)[:, None]
    with torch.no_grad():
        variation = float(model(t).diff(dim=0).abs().sum())
    assert float(found.output_length) == pytest.approx(variation, rel=1e-6)


def test_parts_of_the_knots_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = drawn([2, 20, 20, 2], 0, bias_std=0.5)
    points = circle(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), vertices=30)
    lengths, projected = trajectory_lengths(model, points), trajectory_projection(model, points)
    monkeypatch.setattr("reluscope_plugins.regions.trajectories._AT_ONCE", 300)
    parts, again = trajectory_lengths(model, points), trajectory_projection(model, points)
    for name in lengths.data_vars:
        np.testing.assert_allclose(parts[name], lengths[name], rtol=1e-12)
    assert projected.sizes["point"] > 31
    np.testing.assert_allclose(again.first, projected.first, atol=1e-9)
    np.testing.assert_allclose(again.second, projected.second, atol=1e-9)


def test_a_projection_of_two_units_keeps_all_lengths() -> None:
    model = drawn([2, 2, 2, 2], 4, bias_std=0.5)
    points = circle(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), vertices=50)
    projected, lengths = trajectory_projection(model, points), trajectory_lengths(model, points)
    steps = np.hypot(np.diff(projected.first, axis=1), np.diff(projected.second, axis=1)).sum(1)
    np.testing.assert_allclose(steps, lengths.preactivation_length, rtol=1e-12)


def test_a_projection_onto_one_unit_has_no_second_coordinate() -> None:
    projected = trajectory_projection(drawn([2, 1, 1], 0), torch.eye(2))
    assert (projected.second == 0).all()
    assert float(projected.first.max() - projected.first.min()) > 0


class Reused(nn.Module):
    """One activation called twice, and one in place between."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.act = nn.Linear(3, 6), nn.Linear(6, 6), nn.Hardtanh()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(2.0 * nn.functional.leaky_relu_(self.second(self.act(self.first(x))), 0.2))


@pytest.mark.parametrize(
    "activation",
    [nn.ReLU6(), nn.Hardtanh(-0.3, 0.7), nn.LeakyReLU(0.2), nn.PReLU(), nn.Hardsigmoid(), nn.Softshrink(0.3)],
)
def test_lengths_after_any_activation(activation: nn.Module) -> None:
    """Against sampled sums, which cut corners off and lengthen nothing."""
    generator = torch.Generator().manual_seed(5)
    model = nn.Sequential(nn.Linear(3, 12), activation, nn.Linear(12, 12), activation).double()
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator))
            layer.bias.copy_(torch.randn(layer.bias.shape, generator=generator))
    ends = 2 * torch.randn(2, 3, dtype=torch.float64, generator=generator)
    found = trajectory_lengths(model, ends)
    values = ends[0] + torch.linspace(0, 1, 40_001, dtype=torch.float64)[:, None] * (ends[1] - ends[0])
    with torch.no_grad():
        for number in range(2):
            values = activation(model[2 * number](values))
            sampled, exact = float(values.diff(dim=0).norm(dim=1).sum()), float(found.activation_length[number])
            assert exact * (1 - 1e-4) < sampled <= exact * (1 + 1e-12)
    assert float(found.output_length) == pytest.approx(float(found.activation_length[1]), rel=1e-12)


def test_an_activation_called_twice_and_in_place() -> None:
    model = Reused().double()
    ends = torch.tensor([[-2.0, 0.5, 1.0], [2.0, -1.0, 0.3]], dtype=torch.float64)
    found = trajectory_lengths(model, ends)
    sampled = ends[0] + torch.linspace(0, 1, 40_001, dtype=torch.float64)[:, None] * (ends[1] - ends[0])
    with torch.no_grad():
        one = nn.functional.hardtanh(model.first(sampled))
        two = nn.functional.leaky_relu(model.second(one), 0.2)
        three = nn.functional.hardtanh(2 * two)
    lengths = [float(values.diff(dim=0).norm(dim=1).sum()) for values in (one, two, three)]
    np.testing.assert_allclose(found.activation_length, lengths, rtol=1e-4)


@pytest.mark.parametrize("activation", [nn.Hardshrink(), nn.Threshold(0.1, 20.0)])
def test_activations_that_may_jump_have_no_length(activation: nn.Module) -> None:
    model = nn.Sequential(nn.Linear(2, 5), activation, nn.Linear(5, 1)).double()
    with pytest.raises(ObservationError, match=r"site '1#0' is (hardshrink|threshold), expected an activation"):
        trajectory_lengths(model, torch.eye(2))


@pytest.mark.parametrize(("activation", "module"), [("hardtanh", nn.Hardtanh), ("leaky_relu", nn.LeakyReLU)])
def test_random_networks_of_other_activations(activation: str, module: type) -> None:
    model, same = drawn([2, 3, 1], 0, activation=activation), drawn([2, 3, 1], 0)
    assert isinstance(model[1], module)
    assert torch.equal(model[0].weight, same[0].weight)
    with pytest.raises(RecipeError, match="activation = 'tanh', expected one of 'relu', 'hardtanh', 'leaky_relu'"):
        drawn([2, 3, 1], 0, activation="tanh")


@pytest.mark.parametrize("vertices", [0, -3, 2, True, 4.0])
def test_circles_have_three_vertices(vertices: int) -> None:
    with pytest.raises(ObservationError, match=r"vertices is .*, expected an integer of at least 3; give more"):
        circle(torch.eye(2)[0], torch.eye(2)[1], vertices=vertices)


@pytest.mark.parametrize(("second", "got"), [(torch.ones(3), r"\(2,\) and \(3,\)"), (1.0, r"\(2,\) and float")])
def test_axes_of_a_circle_have_one_shape(second: torch.Tensor, got: str) -> None:
    with pytest.raises(ObservationError, match=f"first and second are {got}, expected two tensors of one shape"):
        circle(torch.ones(2), second)


@pytest.mark.parametrize("weights", KINDS)
def test_weights_have_the_variance_and_the_zeros_asked_for(weights: str) -> None:
    """Null: variance alpha sigma^2 / n. 250 000 weights; 4.9 standard errors, error probability below 1e-6."""
    share, std, inputs, outputs = 0.3, 1.7, 500, 500
    weight = drawn([inputs, outputs], 0, weights=weights, weight_std=std, share=share, bias_std=0.5)[0].weight
    values = weight.detach().flatten() * math.sqrt(inputs) / std
    nonzero = values[values != 0]
    error = math.sqrt(share * (1 - share) / len(values))
    assert abs(len(nonzero) / len(values) - share) < 5 * error
    squares = nonzero.square()
    spread = float(squares.std()) / math.sqrt(len(squares))
    assert abs(float(squares.mean()) - 1) <= 5 * spread + 1e-12
    if weights != "gaussian":
        assert float(nonzero.abs().max()) <= {"uniform": math.sqrt(3), "discrete": 1.0}[weights] + 1e-12


def ratios(widths: list[int], networks: int, **params: object) -> np.ndarray:
    points = torch.zeros(2, widths[0], dtype=torch.float64)
    points[1, 0] = 2.0
    points[:, -1] = 0.7
    found = []
    for seed in range(networks):
        lengths = trajectory_lengths(drawn([*widths, 1], seed, **params), points)
        found.append(float(lengths.activation_length[-1] / lengths.input_length))
    return np.array(found)


@pytest.mark.parametrize("bias_std", [0.0, 0.5])
def test_expected_length_of_gaussian_networks_is_exact(bias_std: float) -> None:
    """Null: the closed form. 400 networks; 4.9 standard errors to either side, error probability below 1e-6."""
    widths = [4, 6, 8, 5]
    found = ratios(widths, 400, weight_std=1.6, bias_std=bias_std)
    error = float(found.std(ddof=1)) / math.sqrt(len(found))
    assert abs(found.mean() - expected_length(widths, weight_std=1.6)) < ERROR_OF_NORMAL * error


@pytest.mark.parametrize("share", [0.3, 1.0])
@pytest.mark.parametrize("weights", KINDS)
def test_expected_length_is_within_its_bounds(weights: str, share: float) -> None:
    """Null: the bounds hold. 100 networks; 4.9 standard errors beyond either bound, error probability below 1e-6."""
    widths = [5, 12, 12]
    found = ratios(widths, 100, weights=weights, weight_std=2.0, share=share, bias_std=0.1)
    error = float(found.std(ddof=1)) / math.sqrt(len(found))
    low = length_lower_bound(widths, weights=weights, weight_std=2.0, share=share)  # type: ignore[arg-type]
    assert found.mean() > low - ERROR_OF_NORMAL * error
    assert found.mean() < length_upper_bound(widths, weight_std=2.0, share=share) + ERROR_OF_NORMAL * error
    assert low < length_upper_bound(widths, weight_std=2.0, share=share)


@pytest.mark.parametrize("weights", KINDS)
def test_the_least_projection_is_below_every_projection(weights: str) -> None:
    """Mean |u^T w| over all discrete rows, or by quadrature along an axis and along two."""
    least = least_projection(weights)  # type: ignore[arg-type]
    if weights == "discrete":
        signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 6).double()
        for used in range(1, 7):
            u = torch.zeros(6, dtype=torch.float64)
            u[:used] = 1 / math.sqrt(used)
            assert float((signs @ u).abs().mean()) >= least - 1e-12
        u = torch.tensor([1.0, 1, 0, 0, 0, 0], dtype=torch.float64) / math.sqrt(2)
        assert float((signs @ u).abs().mean()) == pytest.approx(least, rel=1e-12)  # Szarek's constant is attained
        return
    density = {
        "gaussian": lambda g: math.exp(-g * g / 2) / math.sqrt(2 * math.pi),
        "uniform": lambda g: 1 / math.sqrt(12) if abs(g) <= math.sqrt(3) else 0.0,
    }[weights]
    reach = 9.0 if weights == "gaussian" else math.sqrt(3)
    axis = 2 * scipy.integrate.quad(lambda g: g * density(g), 0, reach)[0]
    assert axis >= least - 1e-9
    if weights == "gaussian":
        assert axis == pytest.approx(least, rel=1e-9)


def test_expected_length_lies_between_the_bounds_and_comes_near_the_upper() -> None:
    for width in (1, 2, 5, 50, 400):
        widths = [width, width]
        assert length_lower_bound(widths) <= expected_length(widths) * (1 + 1e-9)
        assert expected_length(widths) <= length_upper_bound(widths)
    assert expected_length([400, 400]) == pytest.approx(length_upper_bound([400, 400]), rel=2e-3)


def test_the_bound_of_the_lecture_for_relu_contradicts_the_upper_bound() -> None:
    for weight_std in (0.5, 1.0, 1.5, 1.9):
        assert raghu_growth(1000, weight_std=weight_std) > length_upper_bound([1000, 1000], weight_std=weight_std)
    assert raghu_growth(1000, weight_std=2.5) < length_upper_bound([1000, 1000], weight_std=2.5)


def test_a_circle_is_closed_and_as_long_as_its_polygon() -> None:
    points = circle(torch.tensor([3.0, 0.0]), torch.tensor([0.0, 3.0]), vertices=17)
    assert torch.equal(points[0], points[-1])
    length = float(points.diff(dim=0).norm(dim=1).sum())
    assert length == pytest.approx(2 * 17 * 3 * math.sin(math.pi / 17), rel=1e-12)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"weights": "cauchy"}, "cauchy"),
        ({"share": 0.0}, "share"),
        ({"share": 1.5}, "share"),
        ({"weight_std": -1.0}, "weight_std"),
        ({"bias_std": math.inf}, "bias_std"),
    ],
)
def test_wrong_parameters_are_refused(params: dict, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        drawn([2, 2], 0, **params)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(RecipeError, match="widths"):
        drawn([2], 0)
    with pytest.raises(ObservationError, match="tanh"):
        trajectory_lengths(nn.Sequential(nn.Linear(2, 2), nn.Tanh()), torch.eye(2))
