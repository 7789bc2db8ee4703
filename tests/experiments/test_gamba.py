"""Gamba et al. 2020: the statistics of trained networks.

What is asked of trained networks was decided on seed 0; the slow test looks at seeds 100 to 102.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import reluscope as rs
from reluscope import recipe as recipes

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
        found.sel(weights=name).dropna("layer", subset=["projection_p_value"]) for name in (RESNET_20, "")
    )
    assert trained.sizes["layer"] == random.sizes["layer"] == LAYERS
    biased = trained.where(trained.projection_p_value < 0.01, drop=True)
    assert set(biased.layer.values.tolist()) == BIASED
    assert (biased.negative_projection_share > 0.7).all()
    assert float(trained.projection_p_value.min()) < 1e-10
    # the first and the last layer, and the last convolution, are within the null interval
    for layer in ("stage3.block3.conv2.weight", "head.weight"):
        one = trained.sel(layer=layer)
        lower, upper = one.null_share_interval.values
        assert lower <= one.negative_projection_share <= upper
    assert (random.projection_p_value > 0.01).all()


VGG = """
title = "Projections of a VGG network without normalisation on FashionMNIST"
procedure = "critical_layers"
epochs = 8
batch_size = 64
snapshots = [0, 1]
dataset = { name = "subset", train = 6000, validation = 500, test = 4000, dataset = { name = "fashion_mnist" } }
optimizer = { name = "sgd", learning_rate = 0.01, momentum = 0.9, weight_decay = 0.0005 }
scheduler = { name = "constant" }
metrics = [
    { name = "negative_projection_share", every = "1 epoch", samples = 1 },
    { name = "projection_p_value", every = "1 epoch", samples = 1 },
]

[sweep]
seed = [100, 101, 102]
architecture = [
    { name = "vgg", depth = 11, batch_norm = false, width = 16, input_channels = 1 },
    { name = "vgg", depth = 11, batch_norm = false, width = 16, input_channels = 1, weight_std = 0.01 },
]
"""
LATER = [f"conv{name}.weight" for name in ("3_1", "3_2", "4_1", "4_2", "5_1", "5_2")]


@pytest.mark.slow
@pytest.mark.data
def test_later_layers_turn_to_the_negative_where_the_network_learns_and_stay_where_it_does_not(
    data_root: Path, tmp_path: Path
) -> None:
    """VGG-11 with 16 to 128 channels without normalisation, 6,000 images of FashionMNIST, three seeds.

    Null, where it learns: the signs of a layer's 64 or 128 filters are fair coins; rejected at 1e-6 for at least three
    of the six later layers in each seed, all of them towards more negative ones. Where it fails (weights of N(0, 1e-4),
    the source's "N(0, 0.01)"), the null is true at initialisation, and is not rejected at 1e-6 after training.
    """
    path = tmp_path / "vgg.toml"
    path.write_text(VGG, encoding="utf-8")
    tree = rs.run(path, lab=LAB, data_root=data_root)
    found = tree["epoch"].to_dataset()
    learns, fails = (found.isel(architecture=place, epoch=-1) for place in (0, 1))
    print(found.negative_projection_share.isel(epoch=-1).to_series().dropna().unstack("layer").to_string())
    print(found.test_accuracy.isel(epoch=-1).values)
    print(tree["critical_layers"].to_dataset().accuracy_drop.isel(epoch=0, architecture=0).values)
    print(tree["critical_layers"].to_dataset().share_drop_correlation_interval.isel(architecture=0).values)
    assert (learns.test_accuracy > 0.8).all()
    assert (fails.test_accuracy < 0.15).all()
    later = learns.sel(layer=LATER)
    biased = later.projection_p_value < 1e-6
    assert (biased.sum("layer") >= 3).all()
    assert (later.negative_projection_share.where(biased, 1.0) > 0.5).all()
    assert (fails.projection_p_value.fillna(1.0) > 1e-6).all()
    start = found.isel(epoch=0).projection_p_value.fillna(1.0)
    assert (start > 1e-6).all()
