"""Gamba et al. 2020: the statistics of trained networks.

What is asked of trained networks was decided on seeds 0 and 100 to 102; the slow test looks at seeds 200 to 202.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import reluscope as rs
from reluscope import recipe as recipes
from reluscope_plugins.arrangements.null_distribution import sign_p_value

LAB = rs.Lab()
RESNET_20 = "cifar10/resnet20-12fca82f.th"
LAYERS = 20
BIASED = {
    "stage2.block3.conv1.weight",
    "stage3.block1.conv2.weight",
    "stage3.block2.conv1.weight",
    "stage3.block2.conv2.weight",
    "stage3.block3.conv1.weight",
}
NUMBERS = ("1", "2", "4", "5", "6", "7", "15", "20", "21", "21_imagenet", "21_mnist", "22", "22_imagenet", "23")
RECIPES = [f"gamba_figure_{number}" for number in NUMBERS]


def test_every_recipe_is_listed_here() -> None:
    assert {name for name in LAB.experiments if name.startswith("gamba_")} == set(RECIPES)


@pytest.mark.parametrize("scale", ["paper", "small"])
@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_complete(name: str, scale: str) -> None:
    plan = recipes.load(name, lab=LAB, scale=scale)
    assert plan.recipe.source.startswith("Gamba")
    groups = LAB.procedures[plan.recipe.procedure].groups
    assert plan.recipe.figures
    assert {figure.group for figure in plan.recipe.figures} <= set(groups)


@pytest.mark.data
def test_of_a_trained_resnet_20_five_of_twenty_layers_are_biased_all_to_the_negative(data_root: Path) -> None:
    """Null: the signs of all filters are fair coins. At the level of 1 % for all layers together (Holm)."""
    tree = rs.run("gamba_figure_1", lab=LAB, scale="small", data_root=data_root)
    found = tree["arrangements"].to_dataset().squeeze("architecture")
    trained, random = (
        found.sel(weights=name).dropna("layer", subset=["projection_p_value"]) for name in (RESNET_20, "own")
    )
    assert trained.sizes["layer"] == random.sizes["layer"] == LAYERS
    biased = trained.where(trained.projection_p_value < 0.01, drop=True)
    assert set(biased.layer.values.tolist()) == BIASED
    assert (biased.negative_projection_share > 0.7).all()
    assert float(trained.projection_p_value.min()) < 1e-10
    # the first and the last layer, and the last convolution, are within the null interval
    for layer in ("stem.conv.weight", "stage3.block3.conv2.weight", "head.weight"):
        one = trained.sel(layer=layer)
        lower, upper = one.null_share_interval.values
        assert lower <= one.negative_projection_share <= upper
    assert (random.projection_p_value > 0.01).all()


VGG = """
title = "Projections of a VGG network without normalisation on FashionMNIST"
procedure = "train"
epochs = 8
batch_size = 64
dataset = { name = "subset", train = 6000, validation = 500, test = 1000, dataset = { name = "fashion_mnist" } }
optimizer = { name = "sgd", learning_rate = 0.01, momentum = 0.9, weight_decay = 0.0005 }
scheduler = { name = "constant" }
metrics = [
    { name = "projection_cosine", every = "8 epochs", samples = 1 },
    { name = "null_share_interval", every = "8 epochs", samples = 1 },
]

[sweep]
seed = [200, 201, 202]
architecture = [
    { name = "vgg", depth = 11, batch_norm = false, width = 16, input_channels = 1 },
    { name = "vgg", depth = 11, batch_norm = false, width = 16, input_channels = 1, weight_std = 0.01 },
]
"""
ENDS = ("lower", "upper")
FIRST = "conv1_1.weight"
LATER = [f"conv{name}.weight" for name in ("3_1", "3_2", "4_1", "4_2", "5_1", "5_2")]


@pytest.mark.slow
@pytest.mark.data
def test_later_layers_turn_to_the_negative_where_the_network_learns_and_stay_where_it_does_not(
    data_root: Path, tmp_path: Path
) -> None:
    """VGG-11 with 16 to 128 channels without normalisation, 6,000 images of FashionMNIST, three seeds.

    Null, where it learns: the signs of the 640 filters of the six later layers of a seed are fair coins; two-sided sign
    test, rejected at 1e-6 in each seed, and in each layer by itself more than half are negative. The 16 filters of the
    first layer are within the 95 % interval of fair coins in at least one of three seeds (all outside: 1.3e-4).
    Where it fails (weights of N(0, 0.01^2)) no layer's share moves by more than one filter in fifty.
    """
    path = tmp_path / "vgg.toml"
    path.write_text(VGG, encoding="utf-8")
    tree = rs.run(path, lab=LAB, data_root=data_root)
    accuracy = tree["epoch/test_accuracy"].isel(epoch=-1)
    found = tree["every_8_epochs"].to_dataset()
    cosine = found.projection_cosine
    share = (cosine <= 0).sum("filter") / cosine.notnull().sum("filter")
    print(accuracy.values)
    print(share.isel(epoch=-1).to_series().unstack("layer").to_string())
    learns, fails = 0, 1
    assert (accuracy.isel(architecture=learns) > 0.8).all()
    assert (accuracy.isel(architecture=fails) < 0.15).all()
    after = cosine.isel(architecture=learns, epoch=-1)
    for seed in after.seed.values:
        filters = after.sel(seed=seed, layer=LATER).values.ravel()
        assert sign_p_value(filters[np.isfinite(filters)]) < 1e-6
    assert (share.isel(architecture=learns, epoch=-1).sel(layer=LATER) > 0.5).all()
    lower, upper = (
        found.null_share_interval.isel(architecture=learns, epoch=-1).sel(layer=FIRST, bound=end) for end in ENDS
    )
    first = share.isel(architecture=learns, epoch=-1).sel(layer=FIRST)
    assert ((lower <= first) & (first <= upper)).any()
    convolutions = [layer for layer in share.layer.values.tolist() if layer.startswith("conv")]
    moved = share.isel(architecture=fails).sel(layer=convolutions)
    assert (abs(moved.isel(epoch=-1) - moved.isel(epoch=0)) <= 0.02).all()
