"""What holds for every architecture of the source: seeds, modes, dtypes, observation, one step of training."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import reluscope as rs
from reluscope.errors import ObservationError, RecipeError
from reluscope.lab import Lab
from reluscope_plugins import architectures

LAB = Lab(plugins=[architectures])
IMAGE, SOUND = (3, 16, 16), (1, 1772)
# Name, parameters, shape of a sample, number of activation sites.
CASES: list[tuple[str, dict[str, Any], tuple[int, ...], int]] = [
    ("f1", {"input_size": 48}, (3, 4, 4), 5),
    ("f1", {"input_size": 48, "batch_norm": True}, (48,), 5),
    ("toynet", {"depth": 8, "width": 8}, IMAGE, 7),
    ("toynet", {"depth": 14, "width": 8, "normalisation": "none"}, IMAGE, 13),
    ("convnet", {"depth": 14, "width": 4}, IMAGE, 13),
    ("convnet", {"depth": 8, "width": 8, "normalisation": "layer", "activation": "prelu"}, IMAGE, 7),
    ("resnet", {"depth": 8, "width": 4}, IMAGE, 7),
    ("resnet", {"depth": 8, "width": 8, "version": 2, "normalisation": "group"}, IMAGE, 7),
    ("resnet", {"depth": 14, "width": 4, "version": 2, "activation": "prelu"}, IMAGE, 13),
    ("resnet", {"depth": 8, "width": 4, "normalisation": "none"}, IMAGE, 7),
    ("pyramidnet", {"depth": 14, "width": 4, "alpha": 10}, IMAGE, 7),
    ("fixup", {"depth": 8, "width": 4}, IMAGE, 7),
    ("fixup", {"depth": 14, "width": 4, "activation": "prelu"}, IMAGE, 13),
    ("vgg", {"depth": 11}, IMAGE, 8),
    ("vgg", {"depth": 11, "batch_norm": False}, IMAGE, 8),
    ("m5", {"channels": [8, 8, 8, 8]}, SOUND, 4),
    ("m5", {"channels": [4, 4, 8, 8], "stride": 2, "activation": "prelu"}, SOUND, 4),
]
every = pytest.mark.parametrize(
    ("name", "params", "shape", "sites"), CASES, ids=[f"{name}-{number}" for number, (name, *_) in enumerate(CASES)]
)


def inputs(shape: tuple[int, ...], samples: int = 6, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(samples, *shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


@every
def test_seed_gives_the_weights_and_leaves_the_global_state(
    name: str, params: dict[str, Any], shape: tuple[int, ...], sites: int
) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = LAB.architectures[name].build(seed=1, **params).state_dict()
    torch.manual_seed(6)
    again, other = (LAB.architectures[name].build(seed=seed, **params).state_dict() for seed in (1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)
    torch.manual_seed(5)
    assert torch.equal(torch.get_rng_state(), before)
    LAB.architectures[name].build(seed=1, **params)
    assert torch.equal(torch.get_rng_state(), before)


@every
def test_one_step_of_training(name: str, params: dict[str, Any], shape: tuple[int, ...], sites: int) -> None:
    model = LAB.architectures[name].build(seed=0, **params)
    x, y = inputs(shape), torch.arange(6)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    old = [parameter.detach().clone() for parameter in model.parameters()]
    F.cross_entropy(model(x), y).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
    optimizer.step()
    moved = [not torch.equal(*pair) for pair in zip(old, model.parameters(), strict=True)]
    # With a linear layer of zeros, nothing but that layer moves at first.
    assert any(moved) if name == "fixup" else sum(moved) > len(moved) / 2
    assert torch.isfinite(model(x)).all()


@every
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_modes_and_dtypes_are_observed(
    name: str, params: dict[str, Any], shape: tuple[int, ...], sites: int, training: bool, dtype: torch.dtype
) -> None:
    model = LAB.architectures[name].build(seed=0, **params).to(dtype).train(training)
    before = copy.deepcopy(model.state_dict())
    x = inputs(shape, dtype=dtype)
    observation = rs.observe(model, x)
    assert len(observation.sites) == sites
    assert observation.output.shape == (6, 10)
    assert observation.output.dtype == dtype
    for site in observation.sites:
        assert observation.preactivation[site].dtype == dtype
        assert observation.pattern[site].shape[0] % 6 == 0
        # Each activation is a module of its own, called once, and its path says where.
        path, _, call = site.rpartition("#")
        assert call == "0"
        assert isinstance(model.get_submodule(path), nn.ReLU | nn.PReLU)
    assert model.training == training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert torch.equal(copy.deepcopy(model)(x), observation.output)


@every
def test_single_and_double_precision_agree(
    name: str, params: dict[str, Any], shape: tuple[int, ...], sites: int
) -> None:
    model = LAB.architectures[name].build(seed=0, **params).eval()
    x = inputs(shape)
    single = model(x).double()
    double = model.double()(x.double())
    assert torch.allclose(single, double, rtol=1e-3, atol=1e-4 * (1 + double.abs().max().item()))


@every
def test_samples_do_not_see_one_another_in_evaluation(
    name: str, params: dict[str, Any], shape: tuple[int, ...], sites: int
) -> None:
    model = LAB.architectures[name].build(seed=0, **params).double().eval()
    x = inputs(shape, dtype=torch.float64)
    one_by_one = torch.cat([model(x[number : number + 1]) for number in range(len(x))])
    assert torch.allclose(model(x), one_by_one, rtol=1e-10, atol=1e-10)


@every
def test_weights_survive_a_file(name: str, params: dict[str, Any], shape: tuple[int, ...], sites: int) -> None:
    model = LAB.architectures[name].build(seed=0, **params).eval()
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = LAB.architectures[name].build(seed=1, **params).eval()
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(model(inputs(shape)), other(inputs(shape)))


@every
def test_affine_map_is_exact_or_refused(name: str, params: dict[str, Any], shape: tuple[int, ...], sites: int) -> None:
    model = LAB.architectures[name].build(seed=0, **params).double().eval()
    x = inputs(shape, samples=2, dtype=torch.float64)
    if params.get("normalisation") in ("group", "layer"):
        # They divide by a deviation of the sample itself, so the network is not affine on a piece.
        with pytest.raises(ObservationError, match="'group_norm', which is not affine"):
            rs.affine(model, x).weight  # noqa: B018
        return
    weight, bias = rs.affine(model, x)
    mapped = (weight.reshape(2, 10, -1) @ x.reshape(2, -1, 1)).squeeze(-1) + bias
    assert torch.allclose(mapped, model(x), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", sorted({name for name, *_ in CASES}))
def test_superfluous_parameters_are_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=f"architecture '{name}': unknown parameter 'clases'. Did you mean 'classes'"):
        LAB.architectures[name].build(clases=3)
