"""The closed formula of the rank against NumPy's rank of the explicit product, and where it holds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

import reluscope as rs
from reluscope.bottlenecks import bottlenecks
from reluscope.errors import ObservationError
from reluscope.observation import observe
from reluscope_plugins import geometry
from reluscope_plugins.geometry import affine_rank, affine_rank_bound, rank_deficiency
from reluscope_plugins.geometry.active_units import active_units, rank_bound

LAB = rs.Lab(plugins=[geometry])


def chain(widths: list[int], seed: int, *, bias: bool, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Linear(a, b, bias=bias) for a, b in itertools.pairwise(widths)]
        return nn.Sequential(*[m for layer in layers for m in (layer, activation())][:-1]).double()


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(model: nn.Sequential, x: np.ndarray) -> tuple[int, int]:
    """Rank of the explicit product, and its closed formula, for one sample of a dense ReLU network."""
    product, h, counts = np.eye(len(x)), x, [len(x)]
    for layer in model:
        if isinstance(layer, nn.Linear):
            weight = layer.weight.detach().numpy()
            product, h = weight @ product, weight @ h
            h = h if layer.bias is None else h + layer.bias.detach().numpy()
        else:
            mask = (h > 0).astype(float)
            counts.append(int(mask.sum()))
            product, h = mask[:, None] * product, mask * h
    return int(np.linalg.matrix_rank(product)), min(*counts, len(h))


@given(
    widths=st.lists(st.integers(1, 9), min_size=3, max_size=6),
    seed=st.integers(0, 2**31 - 1),
    bias=st.booleans(),
)
def test_at_initialisation_formula_and_rank_are_the_same(widths: list[int], seed: int, bias: bool) -> None:
    """Johansson 2022, eq. 2.3, with probability one over PyTorch's own initialisation, biases or not."""
    model, x = chain(widths, seed, bias=bias), drawn(5, widths[0], seed=seed)
    observation = observe(model, x, affine=True)
    ranks, formula = np.array([by_hand(model, row) for row in x.numpy()]).T
    np.testing.assert_array_equal(rank_bound(observation).numpy(), formula)
    assert affine_rank_bound(observation).item() == formula.mean()
    assert affine_rank(observation).item() == ranks.mean()
    assert rank_deficiency(observation).item() == 0.0


def test_what_weights_lose_is_their_disagreement() -> None:
    model, x = chain([6, 8, 8, 5], 3, bias=True), drawn(40, 6)
    with torch.no_grad():
        model[4].weight[1] = 2.0 * model[4].weight[0]  # two dependent outputs
    observation = observe(model, x, affine=True)
    ranks, formula = np.array([by_hand(model, row) for row in x.numpy()]).T
    assert (formula > ranks).any()
    assert rank_deficiency(observation).item() == pytest.approx((formula - ranks).mean(), rel=1e-15)


@pytest.mark.parametrize(
    ("activation", "passes"),
    [
        (nn.ReLU6, lambda z: (z > 0) & (z < 6)),
        (nn.Hardtanh, lambda z: abs(z) < 1),
        (nn.LeakyReLU, lambda z: z == z),
        (nn.PReLU, lambda z: z == z),
        (nn.Softshrink, lambda z: abs(z) > 0.5),
        (nn.Hardsigmoid, lambda z: abs(z) < 3),
    ],
)
def test_active_units_are_those_whose_derivative_is_not_zero(activation: type[nn.Module], passes) -> None:
    model = nn.Sequential(nn.Identity(), activation()).double()
    z = 3.0 * drawn(20, 7)
    observation = observe(model, z, affine=True)
    expected = passes(z).sum(1)
    assert active_units(observation, "1#0").tolist() == expected.tolist()
    (slopes,) = torch.autograd.grad(model(z.requires_grad_()).sum(), z)
    assert (slopes != 0).sum(1).tolist() == expected.tolist()


def test_a_max_pool_lets_its_different_winners_through() -> None:
    model = nn.Sequential(nn.MaxPool1d(3, stride=1), nn.Flatten(), nn.ReLU()).double()
    x = torch.tensor([[[1.0, 5.0, 2.0, 3.0, 4.0], [9.0, 8.0, 7.0, 6.0, 5.0]]], dtype=torch.float64)
    observation = observe(model, x, affine=True)
    assert active_units(observation, "0#0").tolist() == [2 + 3]  # 5 5 4, and 9 8 7
    assert rank_bound(observation).tolist() == [5]
    assert affine_rank(observation).item() == 5


@given(seed=st.integers(0, 2**31 - 1))
def test_convolutions_are_bounded(seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(3, 4)
        ).double()
    x = drawn(4, 1, 6, 6, seed=seed)
    observation = observe(model, x, affine=True)
    jacobians = [torch.func.jacrev(model)(row[None]).reshape(4, 36).numpy(force=True) for row in x]
    bound = rank_bound(observation).numpy()
    assert (np.linalg.matrix_rank(np.stack(jacobians)) <= bound).all()
    first, second = ((model[:depth](x) > 0).flatten(1).sum(1).numpy() for depth in (2, 5))
    winners = [len({(c, int(i)) for c in range(2) for i in row[c].ravel()}) for row in pooled_places(model, x)]
    np.testing.assert_array_equal(bound, np.minimum.reduce([first, second, np.array(winners), np.full(4, 4)]))


def pooled_places(model: nn.Sequential, x: Tensor) -> np.ndarray:
    return functional.max_pool2d(model[:2](x), 2, return_indices=True)[1].numpy()


def test_a_convolution_may_lose_rank_that_no_count_shows() -> None:
    """The second kernel looks at silent positions only: rank 0, though units are active everywhere."""
    model = nn.Sequential(nn.Conv1d(1, 1, 1), nn.ReLU(), nn.Conv1d(1, 1, 2, stride=2), nn.ReLU()).double()
    with torch.no_grad():
        model[0].weight.fill_(1.0), model[0].bias.zero_()
        model[2].weight.copy_(torch.tensor([[[1.0, 1.0]]])), model[2].bias.copy_(torch.tensor([2.0]))
        model[2].weight[0, 0] *= torch.tensor([1.0, -1.0])
    # first window: silent, and so what the second layer adds is its bias; second window: negative
    observation = observe(model, torch.tensor([[[-1.0, -1.0, 1.0, 9.0]]]).double(), affine=True)
    assert rank_bound(observation).tolist() == [1]
    assert affine_rank(observation).item() == 0
    assert rank_deficiency(observation).item() == 1


class Residual(nn.Module):
    """Two blocks with shortcuts, the inner sites dead: the formula over all sites would give 0."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner, self.last = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = functional.relu(self.first(x))
        h = functional.relu(h + functional.relu(self.inner(h) - 100.0))
        return self.last(h)


def test_shortcuts_go_past_the_sites_within_a_block() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Residual().double()
    x = drawn(30, 5)
    observation = observe(model, x, affine=True)
    assert bottlenecks(observation) == ("relu#0", "relu#2")
    active = (torch.relu(model.first(x)) > 0).sum(1)
    assert rank_bound(observation).tolist() == active.clamp(max=4).tolist()
    ranks = np.linalg.matrix_rank(torch.func.vmap(torch.func.jacrev(model))(x).numpy(force=True))
    assert affine_rank(observation).item() == ranks.mean()
    assert (ranks <= rank_bound(observation).numpy()).all()
    assert ranks.max() > 0  # where the formula over all sites gives 0


class Paths(nn.Module):
    """What is taken twice is no bottleneck: |x| as two halves, a gate beside a linear path, an output half used."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.last = kind, nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "halves":
            return self.last(torch.relu(x) + torch.relu(-x))
        if self.kind == "beside":
            z = 2.0 * x
            return self.last(torch.relu(z) + z)
        if self.kind == "chunks":
            first, second = (2.0 * x).chunk(2, 1)
            return torch.relu(first) @ torch.ones(2, 3).to(x) + second @ torch.ones(2, 3).to(x)
        if self.kind == "dead end":
            torch.relu(x)
            return self.last(torch.relu(2.0 * x))
        return self.last((2.0 * x).relu_())


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("halves", ()), ("beside", ()), ("chunks", ()), ("dead end", ("relu#1",)), ("in place", ("relu#0",))],
)
def test_only_what_everything_passes_is_a_bottleneck(kind: str, expected: tuple[str, ...]) -> None:
    observation = observe(Paths(kind).double(), drawn(6, 4), affine=True)
    assert bottlenecks(observation) == expected
    assert rank_deficiency(observation).item() >= 0


def test_torchvision() -> None:
    torchvision = pytest.importorskip("torchvision")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        residual, plain = torchvision.models.resnet18(num_classes=3), torchvision.models.vgg11_bn(num_classes=3)
    x = drawn(2, 3, 32, 32).float()
    observation = observe(residual.eval(), x, affine=True)
    ends = {f"layer{stage}.{block}.relu#1" for stage in range(1, 5) for block in range(2)}
    assert set(bottlenecks(observation)) == {"relu#0", "maxpool#0", *ends}
    assert affine_rank_bound(observation).item() == 3
    observation = observe(plain.eval(), x, affine=True)
    assert set(bottlenecks(observation)) == {*observation.sites, *observation.pools}


def test_smooth_networks_are_refused_by_name() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.GELU(), nn.Linear(3, 2))
    for entry in (affine_rank_bound, rank_deficiency):
        with pytest.raises(ObservationError, match="gelu"):
            entry(observe(model, torch.randn(2, 3), affine=True))


@pytest.mark.parametrize("rtol", [-1.0, float("nan")])
def test_a_tolerance_is_checked(rtol: float) -> None:
    observation = observe(chain([3, 3, 2], 0, bias=True), drawn(2, 3), affine=True)
    with pytest.raises(ObservationError, match="rtol: got"):
        affine_rank.bind(rtol=rtol)(observation)


def test_one_decomposition_serves_rank_disagreement_and_collapse(monkeypatch: pytest.MonkeyPatch) -> None:
    from reluscope_plugins.geometry import affine_ranks

    calls = []
    rank = affine_ranks.numerical_rank
    monkeypatch.setattr(affine_ranks, "numerical_rank", lambda *a, **k: calls.append(1) or rank(*a, **k))
    names = ["affine_rank", "rank_deficiency", "rank_collapse"]
    rs.measure(chain([3, 4, 2], 0, bias=True), [drawn(4, 3)], names, lab=LAB)
    assert len(calls) == 1
