"""Metrics of projections against their formulas written out, on real networks, which are left as found."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
import xarray as xr
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import reluscope as rs
from reluscope.errors import NotFiniteError, ObservationError, PluginError
from reluscope.testing import check_metric
from reluscope_plugins import arrangements
from reluscope_plugins.arrangements.cosines import kernel_cosines
from reluscope_plugins.arrangements.weight_statistics import weight_statistics

LAB = rs.Lab(plugins=[arrangements])
NAMES = list(LAB.metrics)


class Mixed(nn.Module):
    """Every kind of layer that has filters, some that have none, and one that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect")
        self.grouped = nn.Conv2d(4, 6, (2, 1), stride=2, dilation=(2, 1), groups=2)
        self.norm = nn.BatchNorm2d(6)
        self.drop = nn.Dropout(0.5)
        self.up = nn.ConvTranspose2d(6, 2, 2)
        self.linear = nn.Linear(2, 2)
        self.unused = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.grouped(torch.relu(self.conv(x)))))
        x = self.up(self.drop(x)).mean((2, 3))
        return self.linear(torch.relu(self.linear(x)))


def mixed() -> Mixed:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Mixed().double()


def batch(samples: int = 6, seed: int = 0) -> Tensor:
    return torch.rand(samples, 2, 6, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def measured(model: nn.Module, data: list[Any], **params: Any) -> xr.Dataset:
    return rs.measure(model, data, [LAB.metrics[name].bind(**params) for name in NAMES])


def captured(model: nn.Module, name: str, x: Tensor) -> list[Tensor]:
    inputs: list[Tensor] = []
    hook = model.get_submodule(name).register_forward_pre_hook(lambda _, given: inputs.append(given[0].detach()))
    with torch.no_grad():
        model(x)
    hook.remove()
    return inputs


def test_cosines_and_shares_are_equations_1_and_2() -> None:
    model = mixed().eval()
    ds = measured(model, [batch()])
    for name in ("conv", "grouped", "linear", "unused"):
        rows = model.get_submodule(name).weight.detach().flatten(1).numpy()  # type: ignore[union-attr]
        cosines = rows.sum(1) / (np.linalg.norm(rows, axis=1) * math.sqrt(rows.shape[1]))
        found = ds.sel(layer=f"{name}.weight")
        np.testing.assert_allclose(found.projection_cosine.dropna("filter"), cosines, atol=1e-14)
        assert found.projection_cosine.notnull().sum() == len(rows)
        assert float(found.negative_projection_share) == sum(cosines <= 0) / len(cosines)
    assert ds.sel(layer="up.weight").projection_cosine.isnull().all()
    assert ds.skipped.sel(layer="norm.weight").item() != ""
    assert ds.layer.values.tolist() == [f"{n}.weight" for n in ("conv", "grouped", "norm", "up", "linear", "unused")]


def test_p_values_are_corrected_for_the_layers_that_have_one() -> None:
    model = nn.Sequential(nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 20))
    with torch.no_grad():
        model[0].weight.copy_(torch.ones(10, 4).neg())
        model[2].weight.copy_(torch.ones(20, 10) * torch.tensor([1.0, -1.0]).repeat(10)[:, None])
    ds = weight_statistics(model)
    assert ds.projection_p_value.values.tolist() == [2 * 2 / 2**10, 1.0]
    assert ds.negative_projection_share.values.tolist() == [1.0, 0.5]
    assert ds.null_share_interval.sel(layer="2.weight").values.tolist() == [0.3, 0.7]
    single = rs.measure(model, [torch.ones(1, 4)], LAB.metrics["projection_p_value"].bind(correction="none"))
    assert single.projection_p_value.values.tolist() == [2 / 2**10, 1.0]


def test_a_filter_at_a_right_angle_counts_as_negative_and_has_no_sign() -> None:
    model = nn.Linear(2, 5)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -1.0], [2.0, -2.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]]))
    found = weight_statistics(model).sel(layer="weight")
    assert found.projection_cosine.values[:2].tolist() == [0.0, 0.0]
    assert float(found.negative_projection_share) == 2 / 4
    # two signs: 0, 1 or 2 negative with probabilities 1/4, 1/2, 1/4
    assert float(found.projection_p_value) == 2 * 1 / 4
    assert weight_statistics(model, level=0.6).null_share_interval.values.tolist() == [[0.0, 1.0]]
    assert weight_statistics(model, level=0.4).null_share_interval.values.tolist() == [[0.5, 0.5]]


def test_a_layer_without_signs_has_no_interval() -> None:
    model = nn.Linear(2, 3)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -1.0], [2.0, -2.0], [0.0, 0.0]]))
    found = weight_statistics(model)
    assert found.null_share_interval.isnull().all()
    assert found.negative_projection_share.item() == 1.0


@pytest.mark.parametrize("scale", [1e300, 1e-170])
def test_statistics_do_not_depend_on_the_scale_of_weights(scale: float) -> None:
    model = nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3, groups=2)).double()
    expected = weight_statistics(model)
    with torch.no_grad():
        model[2].weight[::2] *= scale
    xr.testing.assert_allclose(weight_statistics(model), expected, rtol=1e-12)


@pytest.mark.parametrize("training", [False, True])
def test_the_mean_input_is_that_of_all_samples_and_positions(training: bool) -> None:
    model = mixed()
    model.drop.p = 0.0
    ds = rs.measure(
        model, [batch(4, 1), batch(2, 2)], LAB.metrics["projection_cosine"].bind(direction="mean_input")
    ).projection_cosine
    model.eval()
    parts = [batch(4, 1), batch(2, 2)]
    # linear: the mean over both of its calls
    given = torch.cat([inputs for part in parts for inputs in captured(model, "linear", part)])
    expected = kernel_cosines(model.linear.weight, given.mean(0))
    np.testing.assert_allclose(ds.sel(layer="linear.weight").dropna("filter"), expected.numpy(), atol=1e-12)
    # convolution with padding: patches cut out one by one
    images = torch.nn.functional.pad(torch.cat(parts), (1, 1, 1, 1), mode="reflect")
    patches = [images[:, :, i : i + 3, j : j + 3] for i in range(6) for j in range(5)]
    expected = kernel_cosines(model.conv.weight, torch.stack(patches).mean((0, 1)))
    np.testing.assert_allclose(ds.sel(layer="conv.weight").dropna("filter"), expected.numpy(), atol=1e-12)
    # groups, stride and dilation: (2, 1) kernels whose rows are two apart
    images = torch.cat([captured(model, "grouped", part)[0] for part in parts])
    patches = [images[:, :, i : i + 3 : 2, j : j + 1] for i in range(0, 4, 2) for j in range(0, 5, 2)]
    expected = kernel_cosines(model.grouped.weight, torch.stack(patches).mean((0, 1)), groups=2)
    np.testing.assert_allclose(ds.sel(layer="grouped.weight").dropna("filter"), expected.numpy(), atol=1e-12)
    assert ds.sel(layer="unused.weight").isnull().all()


def test_along_the_mean_input_the_sign_is_that_of_the_mean_pre_activation_without_bias() -> None:
    model = nn.Sequential(nn.Conv2d(2, 8, 3, bias=False), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1, bias=False))
    model.append(nn.ReLU()).double()
    x = batch()
    found = rs.measure(model, [x], LAB.metrics["projection_cosine"].bind(direction="mean_input")).projection_cosine
    preactivation = rs.observe(model, x).preactivation
    for layer, site in (("0.weight", "1#0"), ("2.weight", "3#0")):
        signs = np.sign(preactivation[site].mean(0).numpy())
        np.testing.assert_array_equal(np.sign(found.sel(layer=layer).dropna("filter")), signs)


def test_in_the_space_of_the_input_the_source_s_norm_of_ones() -> None:
    model = mixed().eval()
    del model.unused  # a layer that is not called has no size of its input, and is not counted among the tests
    ds = measured(model, [batch()], space="input")
    weight = model.conv.weight.detach().flatten(1)
    printed = weight.sum(1) / (weight.norm(dim=1) * math.sqrt(2 * 6 * 5))
    np.testing.assert_allclose(ds.projection_cosine.sel(layer="conv.weight").dropna("filter"), printed, atol=1e-14)
    plain = measured(model, [batch()])
    called = [f"{name}.weight" for name in ("conv", "grouped", "linear")]
    for name in ("negative_projection_share", "projection_normality"):
        np.testing.assert_allclose(ds[name].sel(layer=called), plain[name].sel(layer=called), rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        *((name, {}) for name in NAMES),
        ("projection_cosine", {"direction": "mean_input"}),
        ("projection_cosine", {"space": "input"}),
    ],
)
def test_the_laws_of_a_metric(name: str, params: dict[str, Any]) -> None:
    check_metric(LAB.metrics[name].bind(**params))


class Twice(nn.Module):
    """Calls one convolution at two sizes of images, by keyword where told."""

    def __init__(self, *, keyword: bool = False, pool: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1).double()
        self.keyword, self.pool = keyword, pool

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(input=x) if self.keyword else self.conv(x))
        return self.conv(nn.functional.max_pool2d(x, 2)) if self.pool else x


def test_the_mean_input_of_a_layer_at_two_sizes_is_that_of_all_its_positions() -> None:
    model = Twice().eval()
    x = batch()
    found = rs.measure(model, [x], LAB.metrics["projection_cosine"].bind(direction="mean_input")).projection_cosine
    patches = [
        padded[:, :, i : i + 3, j : j + 3]
        for given in captured(model, "conv", x)
        for padded in [nn.functional.pad(given, (1, 1, 1, 1))]
        for i in range(given.shape[2])
        for j in range(given.shape[3])
    ]
    expected = kernel_cosines(model.conv.weight, torch.cat(patches).mean(0))
    np.testing.assert_allclose(found.sel(layer="conv.weight"), expected.numpy(), atol=1e-12)
    with pytest.raises(ObservationError, match="inputs of 60 and of 12 numbers, expected one size"):
        rs.measure(model, [x], LAB.metrics["projection_cosine"].bind(space="input"))


@pytest.mark.parametrize("params", [{"direction": "mean_input"}, {"space": "input"}])
def test_a_layer_that_is_called_by_keyword_is_heard(params: dict[str, Any]) -> None:
    by_keyword, plain = Twice(keyword=True, pool=False).eval(), Twice(pool=False).eval()
    plain.load_state_dict(by_keyword.state_dict())
    metric = LAB.metrics["projection_cosine"].bind(**params)
    found, expected = (rs.measure(model, [batch()], metric).projection_cosine for model in (by_keyword, plain))
    assert expected.notnull().all()
    xr.testing.assert_equal(found.drop_vars("skipped"), expected.drop_vars("skipped"))


class Unbatched(nn.Module):
    """Takes one sample after another, without a dim of samples."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(2, 3, 3, padding=1), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        images = [torch.relu(self.conv(image)) for image in x]
        return torch.stack([self.linear(image.mean((1, 2))) for image in images])


@pytest.mark.parametrize("params", [{"direction": "mean_input"}, {"space": "input"}])
def test_inputs_without_a_dim_of_samples(params: dict[str, Any]) -> None:
    model = Unbatched().double().eval()

    class Batched(Unbatched):
        def forward(self, x: Tensor) -> Tensor:
            return self.linear(torch.relu(self.conv(x)).mean((2, 3)))

    together = Batched().double().eval()
    together.load_state_dict(model.state_dict())
    names = ("conv.weight", "linear.weight")
    metric = LAB.metrics["projection_cosine"].bind(**params)
    found, expected = (
        metric.finish(metric.measure(rs.observe(one, batch()))).sel(layer=list(names)) for one in (model, together)
    )
    assert expected.notnull().sum() == 5
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_a_weight_that_two_layers_share_is_measured_in_the_space_of_the_input() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3)).double().eval()
    model[2].weight = model[0].weight
    found = rs.measure(model, [torch.rand(2, 3).double()], LAB.metrics["projection_cosine"].bind(space="input"))
    assert found.projection_cosine.notnull().all("filter").values.tolist() == [True, False]


def state_of(model: nn.Module) -> list[Any]:
    return [
        {key: value.clone() for key, value in model.state_dict().items()},
        [module.training for module in model.modules()],
        [dict(module._forward_pre_hooks) for module in model.modules()],
        [dict(module._forward_hooks) for module in model.modules()],
        torch.get_rng_state(),
        [parameter.grad for parameter in model.parameters()],
    ]


def assert_same(first: list[Any], second: list[Any]) -> None:
    for key, value in first[0].items():
        assert torch.equal(value, second[0][key]), key
    assert first[1:4] == second[1:4]
    assert torch.equal(first[4], second[4])
    assert first[5] == second[5]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("params", [{}, {"direction": "mean_input"}, {"space": "input"}])
def test_the_model_is_left_as_found(params: dict[str, Any], training: bool) -> None:
    model = mixed().train(training)
    before = state_of(model)
    metric = LAB.metrics["projection_cosine"].bind(**params)
    with torch.no_grad():
        rs.measure(model, [batch(), batch(3)], metric, training=training)
    metric.measure(rs.observe(model.eval(), batch()))
    model.train(training)
    assert_same(before, state_of(model))


class Fails(nn.Module):
    """Raises at its third call."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.calls > 2:
            raise RuntimeError("out of order")
        return x


def test_also_when_it_fails() -> None:
    fails = Fails()
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), fails).double().train()
    before = state_of(model)
    metric = LAB.metrics["projection_cosine"].bind(direction="mean_input")
    fails.calls = 1  # the observation's own pass still works
    with pytest.raises(PluginError, match="out of order"):
        rs.measure(model, [batch()], metric, training=True)
    assert_same(before, state_of(model))


@pytest.mark.parametrize(
    ("name", "size"), [("alexnet", 64), ("squeezenet1_1", 64), ("mobilenet_v2", 32), ("resnet18", 32)]
)
def test_torchvision_models_unchanged(name: str, size: int) -> None:
    model = torchvision.models.get_model(name, weights=None, num_classes=10).eval()
    found = weight_statistics(model)
    layers = [f"{path}.weight" for path, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert found.projection_cosine.notnull().any("filter").sum() == len(layers)
    x = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    direct = measured(model, [x])
    xr.testing.assert_allclose(
        found.drop_vars("filter"), direct[NAMES].drop_vars(["filter", "site", "activation", "smooth"], errors="ignore")
    )
    along = measured(model, [x], direction="mean_input")
    assert along.negative_projection_share.notnull().sum() == len(layers)


def test_what_is_reparametrised_is_taken_as_it_takes_effect() -> None:
    plain = nn.Conv2d(2, 3, 3)
    normed = parametrizations.weight_norm(copy.deepcopy(plain))
    with torch.no_grad():
        normed.parametrizations.weight.original1[0] *= -1.0
        plain.weight[0] *= -1.0
    np.testing.assert_allclose(
        weight_statistics(normed).projection_cosine, weight_statistics(plain).projection_cosine, atol=1e-6
    )


def test_directions_of_one_s_own() -> None:
    model = mixed()
    along = {"conv.weight": torch.tensor([1.0, -2.0]).reshape(2, 1, 1), "grouped.weight": torch.rand(4, 2, 1)}
    found = weight_statistics(model, along).projection_cosine
    assert found.long_name == "Cosine between each filter and a direction, by default the identity line"
    for name, groups in (("conv", 1), ("grouped", 2)):
        expected = kernel_cosines(
            model.get_submodule(name).weight,  # type: ignore[arg-type]
            along[f"{name}.weight"].expand(*((2, 3, 3) if groups == 1 else (4, 2, 1))),
            groups=groups,
        )
        np.testing.assert_allclose(found.sel(layer=f"{name}.weight").dropna("filter"), expected, atol=1e-14)
    assert found.sel(layer="linear.weight").isnull().all()


@pytest.mark.parametrize(
    ("model", "directions"),
    [
        (nn.Sequential(nn.ReLU()), None),
        (nn.Sequential(nn.BatchNorm2d(2), nn.ReLU()), None),
        (nn.Sequential(nn.ConvTranspose2d(2, 1, 2), nn.ReLU()), None),
        (nn.Sequential(nn.Conv2d(2, 1, 2, dtype=torch.complex64)), None),
        (nn.Sequential(nn.Conv2d(2, 1, 2), nn.ReLU()), {}),
    ],
)
def test_a_network_without_filters_has_no_values(model: nn.Module, directions: dict[str, Tensor] | None) -> None:
    found = weight_statistics(model, directions)
    assert found.sizes["layer"] == len(list(model.parameters())[:1])
    assert found.bound.values.tolist() == ["lower", "upper"]
    assert set(NAMES) == set(found.data_vars)
    assert all(variable.isnull().all() for variable in found.data_vars.values())


def test_the_metrics_of_a_network_without_filters_too() -> None:
    found = measured(nn.Sequential(nn.BatchNorm2d(2), nn.ReLU()).double().eval(), [batch()])
    assert found.null_share_interval.sizes == {"layer": 1, "bound": 2}
    assert all(found[name].isnull().all() for name in NAMES)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda m: weight_statistics(m, {"cnv.weight": torch.ones(2)}), ObservationError, "Did you mean 'conv.weight'"),
        (lambda m: weight_statistics(m, {"conv.weight": [1.0]}), ObservationError, "got list, expected a tensor"),
        (
            lambda m: weight_statistics(m, {"conv.weight": torch.ones(5)}),
            ObservationError,
            r"directions\['conv.weight'\]: direction: got the shape \(5,\), expected \(2, 3, 3\)",
        ),
        (lambda m: weight_statistics(m, level=2.0), ObservationError, "level: got 2.0"),
        (lambda m: weight_statistics(m, level="a"), ObservationError, "level: got 'a'"),
        (lambda _: weight_statistics(nn.ReLU(), level="a"), ObservationError, "level: got 'a'"),
        (lambda m: measured(m, [batch()], direction="up"), ObservationError, "direction: got 'up'"),
        (
            lambda m: measured(m, [batch()], direction="mean_input", space="input"),
            ObservationError,
            "space: got 'input' with direction='mean_input'",
        ),
        (
            lambda m: measured(m, [batch(), batch()[:, :, :5]], space="input"),
            ObservationError,
            "images of one size",
        ),
    ],
)
def test_what_is_wrong_is_said(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call(mixed())


def test_weights_that_are_not_finite_are_named() -> None:
    model = mixed()
    with torch.no_grad():
        model.grouped.weight[0, 0] = math.nan
    with pytest.raises(NotFiniteError, match=r"grouped\.weight"):
        weight_statistics(model)


def test_states_of_other_weights_do_not_merge() -> None:
    metric = LAB.metrics["projection_cosine"]
    first, second = mixed(), mixed()
    with torch.no_grad():
        second.conv.weight += 1.0
    states = [metric.measure(rs.observe(model.eval(), batch())) for model in (first, second)]
    with pytest.raises(ObservationError, match="same weights"):
        metric.merge(*states)
