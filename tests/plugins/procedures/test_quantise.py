"""The procedures of number systems: what they record, beside slow references, and what they refuse."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import reluscope as rs
from reluscope.context import Context, Interrupted
from reluscope.errors import RecipeError, ReluscopeError
from reluscope.random_state import derived_seed
from reluscope.report.page import render
from reluscope_plugins.number_systems.attention import attend
from reluscope_plugins.procedures import quantise
from reluscope_plugins.procedures.trained_weights import load_weights

LAB = rs.Lab()
DATA: dict[str, Any] = {
    "name": "subset",
    "train": 64,
    "validation": 20,
    "test": 50,
    "dataset": {"name": "digits"},
}
CNN: dict[str, Any] = {"name": "small_cnn", "input_shape": [1, 8, 8], "channels": [4, 4], "batch_norm": True}
TAKEN: dict[str, Any] = {
    "title": "As built",
    "procedure": "quantise",
    "samples": [2, 8],
    "dataset": DATA,
    "architecture": CNN,
}
TRAINED: dict[str, Any] = {
    **TAKEN,
    "epochs": 2,
    "batch_size": 16,
    "optimizer": {"name": "sgd", "learning_rate": 0.1},
    "scheduler": {"name": "constant"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = LAB.architectures["small_cnn"].build(seed=5, **{k: v for k, v in CNN.items() if k != "name"})
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # of which folding takes account
            module.running_mean.uniform_(-0.1, 0.1)  # type: ignore[union-attr,operator]
            module.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr,operator]
    torch.save({"state_dict": {f"module.{key}": value for key, value in model.state_dict().items()}}, tmp_path / "w.pt")
    return tmp_path


def network(folder: Path) -> nn.Module:
    model: nn.Module = LAB.architectures["small_cnn"].build(**{k: v for k, v in CNN.items() if k != "name"})
    load_weights(model, "w.pt", folder)
    return model.eval()


def images() -> tuple[torch.Tensor, torch.Tensor]:
    parts = {key: value for key, value in DATA.items() if key != "name"}
    data = LAB.datasets["subset"].load("test", lab=LAB, **parts)
    return torch.stack([x for x, _ in data]), torch.tensor([int(y) for _, y in data])


def test_weights_are_those_of_the_file(folder: Path) -> None:
    saved = torch.load(folder / "w.pt", weights_only=True)["state_dict"]
    assert all(torch.equal(value, saved[f"module.{key}"]) for key, value in network(folder).state_dict().items())


@pytest.mark.parametrize("fold", [True, False])
def test_accuracies_are_those_of_the_converted_network(folder: Path, fold: bool) -> None:
    """A system that draws nothing: each sample's answer, in a network that is converted here, one image at a time."""
    system = {"name": "uniform", "bits": 3}
    recipe = {**TAKEN, "weights": "w.pt", "number_system": system, "fold_batchnorm": fold, "prune": 0.3, "samples": [1]}
    found = rs.run(recipe, lab=LAB, data_root=folder)
    model, (x, y) = network(folder), images()
    expected = (model(x).argmax(1) == y).double().mean()
    assert found["quantise/float_accuracy"].item() == expected
    rs.quantize_(model, system, samples=1, fold_batchnorm=fold, prune=0.3, lab=LAB)
    answers = torch.cat([model(one.unsqueeze(0)) for one in x]).argmax(1)
    assert found["quantise/accuracy"].sel(sample_count=1).item() == (answers == y).double().mean()
    assert answers.unique().numel() > 1


def test_in_a_system_without_error_it_is_the_accuracy_in_floating_point(folder: Path) -> None:
    recipe = {**TAKEN, "weights": "w.pt", "number_system": "float32", "activations": "float32"}
    found = rs.run(recipe, lab=LAB, data_root=folder)["quantise"].to_dataset()
    assert found["accuracy"].dims == ("sample_count",)
    assert (found["accuracy"] == found["float_accuracy"]).all()


def test_many_samples_come_near_and_seeds_draw_anew(folder: Path) -> None:
    recipe = {**TAKEN, "weights": "w.pt", "samples": [1, 10**6], "sweep": {"seed": [0, 1, 2, 3, 4, 5]}}
    found = rs.run(recipe, lab=LAB, data_root=folder)["quantise"].to_dataset()
    # Weights are off by at most 1e-3 of themselves; what changes is at most an image or two at the edge.
    assert (abs(found["accuracy"].sel(sample_count=10**6) - found["float_accuracy"]) <= 2 / 50).all()
    assert len(set(found["accuracy"].sel(sample_count=1).values.tolist())) > 1


def test_cost_is_counted_at_each_number_of_samples(folder: Path) -> None:
    tree = rs.run({**TAKEN, "weights": "w.pt"}, lab=LAB, data_root=folder)
    cost, totals = tree["cost"].to_dataset(), tree["quantise"].to_dataset()
    assert cost["layer"].values.tolist() == ["conv1", "conv2", "head"]
    # 3 x 3 kernels on 8 x 8 images, then on 4 x 4 ones; a linear layer of 4 inputs and 10 outputs.
    assert cost["float_multiply_adds"].sel(sample_count=2).values.tolist() == [36 * 64, 144 * 16, 40]
    for count in (2, 8):
        np.testing.assert_array_equal(cost["additions"].sel(sample_count=count), [count * n for n in (2304, 2304, 40)])
        assert totals["total_additions"].sel(sample_count=count) == count * 4648
        assert totals["total_float_multiply_adds"].sel(sample_count=count) == 4648
        for name in ("shifts", "random_bits", "weight_bits", "float_weight_bits"):
            assert totals[f"total_{name}"].sel(sample_count=count) == cost[name].sel(sample_count=count).sum() > 0


def test_saturated_inputs_are_recorded_by_layer(folder: Path) -> None:
    """A system that draws nothing: the inputs of each layer of a network converted here, counted by hand."""
    system, ends = {"name": "uniform", "bits": 3}, (-1 - 2.0**-16, 1 - 2.0**-16)
    recipe = {**TAKEN, "weights": "w.pt", "number_system": system, "samples": [1]}
    activations = {"name": "fixed16", "fraction_bits": 15}
    tree = rs.run({**recipe, "activations": activations}, lab=LAB, data_root=folder)
    found = tree["saturation/saturated_share"].sel(sample_count=1)
    model, (x, _) = network(folder), images()
    rs.quantize_(model, system, samples=1, activations=activations, lab=LAB)
    shares: dict[str, float] = {}

    def count(name: str) -> Any:
        def hook(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            shares[name] = float(((inputs[0] < ends[0]) | (inputs[0] >= ends[1])).double().mean())

        return hook

    for name in ("conv1", "conv2", "head"):
        model.get_submodule(name).register_forward_pre_hook(count(name))
    model(x)
    assert found["layer"].values.tolist() == list(shares)
    np.testing.assert_allclose(found, list(shares.values()), rtol=1e-12)
    assert 0 < shares["conv1"] < 1
    assert "saturation" not in rs.run({**recipe, "activations": "float32"}, lab=LAB, data_root=folder).children
    figure = {"title": "Beyond", "kind": "heatmap", "group": "saturation", "variable": "saturated_share"}
    drawn = rs.run({**recipe, "figures": [{**figure, "x": "sample_count", "y": "layer"}]}, lab=LAB, data_root=folder)
    assert "Share of the inputs that lay beyond the number system of activations" in render(drawn)


@pytest.mark.parametrize("select", ["highest", "random"])
def test_attention_is_that_of_attend(folder: Path, select: str) -> None:
    asked: dict[str, Any] = {
        "base_samples": 1, "refined_samples": 4, "score": "entropy", "select": select, "threshold": "image",
        "margin": 1, "carry": "scaled",
    }  # fmt: skip
    recipe = {**TAKEN, "weights": "w.pt", "seed": 3, "attention": asked, "evaluation_batch_size": 20}
    found = rs.run(recipe, lab=LAB, data_root=folder)["attention"].to_dataset()
    model, (x, y) = network(folder), images()
    rs.quantize_(model, "psb", lab=LAB)
    totals = dict.fromkeys(("first", "extra", "redone", "everywhere"), 0.0)
    shares, right, first = [], 0, 0
    for number, (batch, labels) in enumerate(zip(x.split(20), y.split(20), strict=True)):
        one = attend(model, batch, **asked, seed=derived_seed(3, quantise._ATTENTION, number))
        shares += one.mask.double().mean((1, 2)).tolist()
        right += int((one.logits.argmax(1) == labels).sum())
        first += int((one.first_logits.argmax(1) == labels).sum())
        totals = {name: total + float(one.operations[name].sum()) for name, total in totals.items()}
    assert found["refined_accuracy"].item() == right / 50
    assert found["first_accuracy"].item() == first / 50
    assert 0 < right < 50
    assert found["share"].item() == pytest.approx(np.mean(shares), rel=1e-12)
    for name, total in totals.items():
        assert found[f"{name}_operations"].item() == pytest.approx(total / 50, rel=1e-12)
    spent = totals["first"] + totals["extra"] + totals["redone"]
    assert found["saved_share"].item() == pytest.approx(1 - spent / totals["everywhere"], rel=1e-12)


def test_training_in_a_number_system_without_error_is_training() -> None:
    plain = rs.run(TRAINED, lab=LAB)
    alike = {"number_system": "float32", "activations": "float32", "fold_batchnorm": False, "trained_samples": 1}
    converted = rs.run({**TRAINED, **alike}, lab=LAB)
    for group, name in (("step", "batch_loss"), ("epoch", "test_loss"), ("quantise", "float_accuracy")):
        np.testing.assert_array_equal(plain[group][name].values, converted[group][name].values)
    train = rs.run({key: value for key, value in TRAINED.items() if key != "samples"} | {"procedure": "train"}, lab=LAB)
    np.testing.assert_array_equal(plain["step/batch_loss"].values, train["step/batch_loss"].values)
    assert (plain["quantise/float_accuracy"] == plain["epoch/test_accuracy"].isel(epoch=-1)).all()
    noisy = rs.run({**TRAINED, "trained_samples": 1}, lab=LAB)
    assert (noisy["step/batch_loss"].values != plain["step/batch_loss"].values).all()


@pytest.mark.parametrize("stop", [6, 9])
@pytest.mark.parametrize("trained_samples", [0, 2])
def test_a_resumed_run_draws_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int, trained_samples: int
) -> None:
    """Four steps an epoch: the sixth offer to stop is in the training, the ninth behind the first number of samples."""
    recipe = {**TRAINED, "trained_samples": trained_samples}
    checkpoint, left = Context.checkpoint, [stop]

    def interrupted(context: Context, state: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGINT)
        checkpoint(context, state)

    monkeypatch.setattr(Context, "checkpoint", interrupted)
    with pytest.raises(Interrupted):
        rs.run(recipe, lab=LAB, out=tmp_path / "run.nc")
    resumed = rs.run(recipe, lab=LAB, out=tmp_path / "run.nc", resume=True)
    expected = rs.run(recipe, lab=LAB)
    for group in ("step", "epoch", "quantise", "cost"):
        assert resumed[group].to_dataset().equals(expected[group].to_dataset()), group


def test_weights_begin_a_training(folder: Path) -> None:
    started = rs.run({**TRAINED, "weights": "w.pt"}, lab=LAB, data_root=folder)
    taken = rs.run({**TAKEN, "weights": "w.pt"}, lab=LAB, data_root=folder)
    before = started["epoch/test_accuracy"].sel(epoch=0)
    assert before.item() == taken["quantise/float_accuracy"].item()


def test_images_in_folders_and_weights_of_torchvision(tmp_path: Path) -> None:
    """What the recipes on ImageNet do, on four images of it: weights from a file here, nothing is fetched."""
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("n1", "n2"):
            (tmp_path / "imagenet" / split / name).mkdir(parents=True)
            for number in range(2):
                pixels = random.integers(0, 256, (40, 36, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "imagenet" / split / name / f"{number}.JPEG")
    parameters = {"model": "resnet18", "num_classes": 2}
    model = LAB.architectures["torchvision"].build(seed=3, **parameters)
    torch.save(model.state_dict(), tmp_path / "resnet18.pth")
    data = {"resize": 64, "crop": 64, "validation": 1}
    recipe = {
        **TAKEN,
        "dataset": {"name": "imagenet", **data},
        "architecture": {"name": "torchvision", **parameters},
        "weights": "resnet18.pth",
        "samples": [64],
        "attention": {"base_samples": 1, "refined_samples": 2, "carry": "scaled"},
    }
    found = rs.run(recipe, lab=LAB, data_root=tmp_path)
    samples = LAB.datasets["imagenet"].load("test", tmp_path, **data)
    right = [bool(model.eval()(x.unsqueeze(0)).argmax() == y) for x, y in samples]
    assert found["quantise/float_accuracy"].item() == np.mean(right)
    assert found["cost"].sizes["layer"] == 21  # 17 convolutions of 3 x 3 and 7 x 7, 3 projections, a linear layer
    assert 0 <= found["attention/refined_accuracy"].item() <= 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": "missing.pt"}, "there is no file"),
        ({"weights": "w.pt", "architecture": {**CNN, "channels": [4, 5]}}, "has shape"),
        ({"weights": "w.pt", "architecture": {**CNN, "channels": [4]}}, "the network has no 'conv2"),
        ({"weights": "w.pt", "architecture": {**CNN, "channels": [4, 4, 4]}}, "is not in w.pt"),
        ({"weights": "text.pt"}, "cannot be read"),
        ({"weights": "list.pt"}, "holds no weights"),
        ({"trained_samples": 2}, "nothing is trained"),
        ({"samples": [0]}, "samples"),
        ({"attention": {"base_samples": 2}}, "field required"),
        ({"number_system": "pbs"}, "Did you mean 'psb'"),
    ],
)
def test_what_does_not_fit_is_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    (folder / "text.pt").write_text("no weights")
    torch.save([1, 2], folder / "list.pt")
    with pytest.raises(ReluscopeError, match=message):
        rs.run({**TAKEN, **changes}, lab=LAB, data_root=folder)


def test_drawn_weights_agree_with_the_formulas() -> None:
    """Null: the formulas hold. 41 weights, 4,000 repeats, 2 numbers of samples.

    A mean of 4,000 draws is off by 7 standard errors with a probability of about 1e-11 by the normal law. A variance is
    a mean of squares, whose standard error is sqrt((excess + 2) / 4000) of it, less the square of the mean's error, of
    which 7 standard errors are 49 / 4000 of it; p is between 0.1 and 0.9.
    """
    recipe = {
        "title": "Curves",
        "procedure": "drawn_weights",
        "points": 41,
        "repeats": 4000,
        "sweep": {"samples": [1, 8]},
    }
    found = rs.run(recipe, lab=LAB)["curves"].to_dataset()
    x = found["x"].values
    exponent = np.array([np.frexp(value)[1] - 1 if value else 0 for value in x])
    probability = np.where(x == 0, 0, np.abs(x) / 2.0**exponent - 1)
    for count in (1, 8):
        at = found.sel(samples=count)
        np.testing.assert_array_equal(at["exponent"], exponent)
        np.testing.assert_array_equal(at["probability"], probability)
        variance = 4.0**exponent * probability * (1 - probability) / count
        np.testing.assert_allclose(at["variance"].sel(bound="formula"), variance, rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(at["variance"].sel(bound="bound"), x**2 / (8 * count))
        np.testing.assert_allclose(at["relative_deviation"].sel(bound="bound"), (8 * count) ** -0.5)
        np.testing.assert_array_equal(at["mean"].sel(bound="formula"), x)
        error = np.abs(at["mean"].sel(bound="measured") - x)
        assert (error <= 7 * np.sqrt(variance / 4000) + 1e-12).all()
        spread = probability * (1 - probability)
        excess = np.divide(1 - 6 * spread, count * spread, out=np.zeros_like(spread), where=spread > 0)
        off = np.abs(at["variance"].sel(bound="measured") - variance)
        assert (off <= variance * (7 * np.sqrt((excess + 2) / 4000) + 50 / 4000) + 1e-12).all()


def test_an_empty_interval_is_refused() -> None:
    with pytest.raises(RecipeError, match="expected less than greatest"):
        rs.run({"title": "Curves", "procedure": "drawn_weights", "least": 1.0, "greatest": 1.0}, lab=LAB)


ERRORS: dict[str, Any] = {
    "title": "Errors",
    "procedure": "quantisation_errors",
    "layers": ["conv1", "conv2"],
    "weights": "w.pt",
    "repeats": 3,
    "image": 7,
    "dataset": DATA,
    "architecture": CNN,
}


def test_errors_are_those_of_the_outputs(folder: Path) -> None:
    """The first layer, by hand: convolution, then norm. Errors fall with the samples; their quotient is |output|."""
    model, (x, _) = network(folder), images()
    found = rs.run({**ERRORS, "samples": 10**6}, lab=LAB, data_root=folder)
    conv, norm = model.get_submodule("conv1"), model.get_submodule("norm1")
    exact = norm(conv(x[7:8]))[0].detach()
    errors = found["errors"].to_dataset()
    coarse = rs.run({**ERRORS, "samples": 4}, lab=LAB, data_root=folder)["errors"].to_dataset()
    ratio = coarse["absolute_error"].sel(layer="conv1") / coarse["relative_error"].sel(layer="conv1")
    np.testing.assert_allclose(ratio.sortby("y", ascending=False).values, exact.abs().mean(0).numpy(), rtol=1e-4)
    # Beside the draws, inputs are rounded to multiples of 1/256.
    assert coarse["absolute_error"].sel(layer="conv1").mean() > 10 * errors["absolute_error"].sel(layer="conv1").mean()
    assert coarse["absolute_error"].sizes == {"layer": 2, "y": 8, "x": 8}


def test_pictures_show_the_image_and_darken_what_is_not_refined(folder: Path) -> None:
    pictures = rs.run({**ERRORS, "samples": 4}, lab=LAB, data_root=folder)["pictures"].to_dataset()
    grey = pictures["image"].sortby("y", ascending=False).values.astype(int) & 0xFF
    data = LAB.datasets["digits"].load("test")
    values = images()[0][7, 0].double().numpy()
    constants = [np.asarray(getattr(data, key, ())) for key in ("mean", "std")]
    if constants[0].size:
        values = values * constants[1] + constants[0]
    np.testing.assert_allclose(grey, values * 255, atol=0.51)
    for name in ("refined", "refined_with_margin"):
        dark = pictures[name].values.astype(int) & 0xFF
        full = pictures["image"].values.astype(int) & 0xFF
        assert ((dark == full) | (dark == full // 4)).all()


def test_layers_and_images_that_are_not_there_are_refused(folder: Path) -> None:
    for changes, message in (({"layers": ["conv3"]}, "Did you mean"), ({"image": 50}, "has 50 images")):
        with pytest.raises(RecipeError, match=message):
            rs.run({**ERRORS, **changes}, lab=LAB, data_root=folder)
    with pytest.raises(RecipeError, match="expected images"):
        rs.run({**ERRORS, "layers": ["head"]}, lab=LAB, data_root=folder)
