"""Metrics of the weights alone against NumPy on explicit matrices; what is skipped, and that nothing is disturbed."""

from __future__ import annotations

import copy
import itertools
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

import reluscope as rs
from reluscope.errors import NotFiniteError, ObservationError
from reluscope.observation import observe
from reluscope_plugins import geometry
from reluscope_plugins.geometry import (
    distance_from_initialisation,
    frobenius_norm,
    spectral_norm,
    stable_rank,
    weight_rank,
)
from reluscope_plugins.geometry.layer_matrices import layer_matrices

LAB = rs.Lab(plugins=[geometry])
NAMES = ["spectral_norm", "frobenius_norm", "stable_rank", "weight_rank", "distance_from_initialisation"]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def seeded(model: nn.Module, seed: int = 0) -> nn.Module:
    model.double().eval()
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.copy_(drawn(*parameter.shape, seed=1000 * seed + number))
    return model


def skipped(model: nn.Module) -> dict[str, str]:
    return {found.layer: found.skipped for found in layer_matrices(model)}


def block_diagonal(weight: np.ndarray, groups: int) -> np.ndarray:
    blocks = np.split(weight.reshape(weight.shape[0], -1), groups)
    whole = np.zeros((sum(len(block) for block in blocks), sum(block.shape[1] for block in blocks)))
    for number, block in enumerate(blocks):
        rows, columns = block.shape
        whole[number * rows : (number + 1) * rows, number * columns : (number + 1) * columns] = block
    return whole


class Everything(nn.Module):
    """One layer of each kind; only the first acts."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.conv1 = nn.Conv1d(2, 3, 3)
        self.conv2 = nn.Conv2d(4, 6, (2, 3), groups=2)
        self.conv3 = nn.Conv3d(1, 2, 2)
        self.up1 = nn.ConvTranspose1d(3, 2, 3)
        self.up2 = nn.ConvTranspose2d(4, 6, 2, groups=2)
        self.up3 = nn.ConvTranspose3d(2, 1, 2)
        self.embedding = nn.Embedding(7, 3)
        self.bilinear = nn.Bilinear(2, 3, 4)
        self.recurrent = nn.GRU(3, 2)
        self.attention = nn.MultiheadAttention(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.linear(x))


@given(seed=st.integers(0, 2**20))
def test_every_kind_of_layer_against_its_matrix(seed: int) -> None:
    model = seeded(Everything(), seed)
    data = rs.measure(model, [drawn(2, 4)], NAMES, lab=LAB)
    groups = {"conv2.weight": 2, "up2.weight": 2}
    expected = {
        name: block_diagonal(parameter.detach().numpy(), groups.get(name, 1))
        for name, parameter in model.named_parameters()
        if "bias" not in name
    }
    assert data["layer"].values.tolist() == list(expected)
    assert set(data["skipped"].values.tolist()) == {""}
    for name, matrix in expected.items():
        found = data.sel(layer=name)
        values = np.linalg.svd(matrix, compute_uv=False)
        assert found["spectral_norm"].item() == pytest.approx(values[0], rel=1e-12)
        assert found["frobenius_norm"].item() == pytest.approx(np.linalg.norm(matrix), rel=1e-12)
        assert found["stable_rank"].item() == pytest.approx((values**2).sum() / values[0] ** 2, rel=1e-12)
        assert found["weight_rank"].item() == np.linalg.matrix_rank(matrix)
        assert found["distance_from_initialisation"].item() == 0.0


@given(
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.integers(0, 1),
    groups=st.sampled_from([1, 2]),
    transposed=st.booleans(),
    seed=st.integers(0, 2**20),
)
def test_the_norm_of_a_convolution_lies_where_it_is_said_to(
    kernel: tuple[int, int], stride: tuple[int, int], padding: int, groups: int, transposed: bool, seed: int
) -> None:
    """Operator as an explicit matrix: at least the kernel matrix's norm, at most sqrt(prod ceil(k / s)) times it."""
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    layer = kind(2, 4, kernel, stride=stride, padding=0 if transposed else padding, groups=groups, bias=False)
    model = seeded(nn.Sequential(layer, nn.ReLU()), seed)
    x = drawn(1, 2, 5, 5)
    operator = torch.func.jacrev(layer)(x).detach().reshape(layer(x).numel(), -1).numpy()
    norm, own = np.linalg.norm(operator, 2), spectral_norm(observe(model, x)).item()
    shared = np.prod([-(-k // s) for k, s in zip(kernel, stride, strict=True)])
    assert own * (1 - 1e-12) <= norm <= own * np.sqrt(shared) * (1 + 1e-12)


def test_numpys_tolerance_is_that_of_the_weights_dtype() -> None:
    values = torch.diag(torch.tensor([1.0, 1e-5, 1e-8, 1e-17], dtype=torch.float64))
    for dtype, expected in ((torch.float64, 3), (torch.float32, 2)):
        model = nn.Sequential(nn.Linear(4, 4), nn.ReLU()).to(dtype)
        with torch.no_grad():
            model[0].weight.copy_(values)
        observation = observe(model, torch.ones(2, 4, dtype=dtype))
        assert weight_rank(observation).item() == np.linalg.matrix_rank(model[0].weight.detach().numpy()) == expected
        assert weight_rank.bind(rtol=1e-4)(observation).item() == 1
    with pytest.raises(ObservationError, match="rtol: got -1"):
        weight_rank.bind(rtol=-1.0)(observation)


def test_a_weight_of_zeros_has_stable_rank_zero() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    nn.init.zeros_(model[0].weight)
    observation = observe(model, torch.ones(2, 4))
    assert [entry(observation).item() for entry in (stable_rank, weight_rank, spectral_norm)] == [0.0, 0.0, 0.0]


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.matrix, self.token = nn.Parameter(drawn(3, 3)), nn.Parameter(drawn(1, 3, 3))
        self.norm = nn.BatchNorm1d(3).double()
        self.first, self.second = nn.Linear(3, 3).double(), nn.Linear(3, 3).double()
        self.second.weight = self.first.weight
        self.empty = nn.Linear(3, 0).double()
        self.lazy = nn.LazyLinear(2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(self.first(self.norm(x @ self.matrix))) + self.token[0, 0])


def test_each_layer_is_analysed_or_skipped_with_a_reason(tmp_path: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Own().eval()
    expected = {
        "matrix": "",
        "token": "Own applies no matrix: shape (1, 3, 3)",
        "norm.weight": "BatchNorm1d applies no matrix: shape (3,)",
        "first.weight": "",
        "second.weight": "tied to first.weight",
        "empty.weight": "Linear has an empty weight: shape (0, 3)",
        "lazy.weight": "LazyLinear has no shape yet",
    }
    assert skipped(model) == expected
    model.lazy = nn.Identity()
    del expected["lazy.weight"]
    batch = [drawn(4, 3)]
    with rs.Watch(model, NAMES, batch, every=1, archive=tmp_path / "run.nc", lab=LAB) as watch:
        watch.step()
    data = rs.open_archive(tmp_path / "run.nc")["watch"].to_dataset()
    assert dict(zip(data["layer"].values.tolist(), data["skipped"].values.tolist(), strict=True)) == expected
    for name in NAMES:
        assert data[name].dims == ("step", "layer")
        assert np.isnan(data[name].values).tolist() == [[bool(why) for why in expected.values()]] * 2


def test_what_is_not_finite_is_an_error_that_names_the_layer() -> None:
    model = nn.ModuleDict({"used": nn.Linear(2, 2), "unused": nn.Linear(2, 2)})
    model.forward = lambda x: torch.relu(model["used"](x))
    with torch.no_grad():
        model["unused"].weight[0, 0] = float("nan")
    with pytest.raises(NotFiniteError, match=r"layer 'unused.weight' holds NaN"):
        layer_matrices(model)
    with pytest.raises(ObservationError, match=r"spectral_norm.*unused.weight"):
        spectral_norm(observe(model, torch.ones(2, 2)))


def test_distance_is_that_from_the_first_moment() -> None:
    model = seeded(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
    before = copy.deepcopy(model)
    with rs.Watch(model, ["distance_from_initialisation"], [drawn(3, 3)], every=1, lab=LAB) as watch:
        for number in range(3):
            with torch.no_grad():
                model[0].weight += drawn(4, 3, seed=number)
            watch.step()
            now = (model[0].weight - before[0].weight).norm().item()
            found = watch.dataset["distance_from_initialisation"]
            assert found.isel(step=-1).values == pytest.approx([now, 0.0], rel=1e-12)
    assert found.isel(step=0).values.tolist() == [0.0, 0.0]


def test_another_network_is_not_compared() -> None:
    one, other = (
        distance_from_initialisation.measure(observe(nn.Sequential(nn.Linear(3, n), nn.ReLU()), torch.ones(2, 3)))
        for n in (4, 5)
    )
    one["sites"] = other["sites"]
    with pytest.raises(ObservationError, match=r"0.weight.*the first moment it was \(1, 5, 3\)"):
        distance_from_initialisation.finish(one, other)


@pytest.mark.parametrize("name", NAMES)
def test_weights_that_change_between_two_batches_of_one_moment_are_an_error(name: str) -> None:
    model = seeded(nn.Sequential(nn.Linear(3, 4), nn.ReLU()))
    entry, x = LAB.metrics[name], drawn(2, 3)
    first = entry.measure(observe(model, x))
    assert entry.finish(entry.merge(first, entry.measure(observe(model, x)))).identical(entry.finish(first))
    with torch.no_grad():
        model[0].weight += 1.0
    with pytest.raises(ObservationError, match=r"0.weight.*not the same"):
        entry.merge(first, entry.measure(observe(model, x)))


def test_further_batches_cost_no_further_decomposition(monkeypatch: pytest.MonkeyPatch) -> None:
    from reluscope_plugins.geometry import layer_states

    calls: list[int] = []
    look = layer_states.layer_matrices
    monkeypatch.setattr(layer_states, "layer_matrices", lambda model: calls.append(1) or look(model))
    model = seeded(nn.Sequential(nn.Linear(3, 4), nn.ReLU()))
    rs.measure(model, [drawn(2, 3), drawn(5, 3), drawn(1, 3)], ["spectral_norm", "stable_rank", "weight_rank"], lab=LAB)
    assert len(calls) == 1


def parametrised(kind: str) -> tuple[nn.Sequential, Any]:
    """A network whose first weight is parametrised, and what takes effect in evaluation mode."""
    model = seeded(nn.Sequential(nn.Linear(4, 3), nn.ReLU()))
    layer = model[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older ones are deprecated
        {
            "spectral_norm": lambda: parametrizations.spectral_norm(layer),
            "weight_norm": lambda: parametrizations.weight_norm(layer),
            "orthogonal": lambda: parametrizations.orthogonal(layer),
            "old weight_norm": lambda: nn.utils.weight_norm(layer),
            "old spectral_norm": lambda: nn.utils.spectral_norm(layer),
            "pruned": lambda: prune.l1_unstructured(layer, "weight", 0.5),
            "pruned bias": lambda: prune.l1_unstructured(layer, "bias", 0.5),
            "pruned twice": lambda: [prune.random_unstructured(layer, "weight", 0.2) for _ in range(2)],
        }[kind]()
    with torch.no_grad():  # as after a step: what was computed before no longer holds
        for parameter in layer.parameters():
            parameter.mul_(1.5)
    model.eval()
    with torch.no_grad():
        model(drawn(2, 4))
    return model, layer.weight.detach().clone()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "kind",
    [
        "spectral_norm",
        "weight_norm",
        "orthogonal",
        "old weight_norm",
        "old spectral_norm",
        "pruned",
        "pruned bias",
        "pruned twice",
    ],
)
def test_parametrised_weights_are_those_that_take_effect_and_stay_as_they_are(kind: str, training: bool) -> None:
    model, weight = parametrised(kind)
    model.train(training)
    before = copy.deepcopy(dict(model.state_dict()))
    random = torch.random.get_rng_state()
    (found,) = layer_matrices(model)
    assert found.layer == "0.weight"
    torch.testing.assert_close(found.matrix[0], weight, rtol=1e-12, atol=1e-14)
    assert all(module.training is training for module in model.modules())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(random, torch.random.get_rng_state())
    assert not found.matrix.requires_grad


def test_what_two_parametrised_layers_share_is_tied() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    parametrizations.weight_norm(model[0])
    assert parametrize.is_parametrized(model[0])
    assert list(skipped(model)) == ["0.weight", "2.weight"]


def test_a_sweep_over_networks_of_other_layers(tmp_path: Any) -> None:
    from reluscope.joining import Increment, join

    records = []
    for depth in (1, 2):
        layers = [m for _ in range(depth) for m in (nn.Linear(3, 3), nn.BatchNorm1d(3), nn.ReLU())]
        data = rs.measure(seeded(nn.Sequential(*layers)), [drawn(4, 3)], ["frobenius_norm"], lab=LAB)
        records.append(Increment("/weights", {"depth": depth}, data))
    joined = join(records)[0]["/weights"]
    assert joined["frobenius_norm"].dims == ("depth", "layer")
    assert joined["layer"].values.tolist() == ["0.weight", "1.weight", "3.weight", "4.weight"]
    assert joined["skipped"].dims == ("layer",)
    assert [bool(why) for why in joined["skipped"].values] == [False, True, False, True]


def test_torchvision() -> None:
    torchvision = pytest.importorskip("torchvision")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = torchvision.models.resnet18().eval()
        transformer = torchvision.models.vit_b_16(num_classes=2)
    found = frobenius_norm(observe(model, torch.zeros(1, 3, 32, 32)))
    norms = {n: p.detach().double().norm().item() for n, p in model.named_parameters() if p.ndim > 1}
    analysed = found[found["skipped"] == ""]
    assert analysed["layer"].values.tolist() == list(norms)
    assert analysed.values == pytest.approx(list(norms.values()), rel=1e-12)
    assert all("BatchNorm2d applies no matrix" in str(why) for why in found[found["skipped"] != ""]["skipped"].values)
    why = skipped(transformer)
    assert why["class_token"] == "VisionTransformer applies no matrix: shape (1, 1, 768)"
    assert not why["conv_proj.weight"]
    assert sum(not reason for reason in why.values()) == 1 + 12 * 4 + 1


def test_names_do_not_depend_on_order_of_asking() -> None:
    model = seeded(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU()))
    for names in itertools.permutations(NAMES[:3]):
        data = rs.measure(model, [drawn(4, 3)], list(names), lab=LAB)
        assert data["layer"].values.tolist() == ["0.weight", "1.weight"]
