"""Moved and mirrored images: image by image against loops, the draws, and their place in a training."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

import reluscope as rs
from reluscope.context import Context, Interrupted
from reluscope.errors import RecipeError
from reluscope_plugins.datasets.constants import DIGITS
from reluscope_plugins.procedures.augmentation import augment
from reluscope_plugins.procedures.train import Training

LAB = rs.Lab()
RECIPE: dict[str, Any] = {
    "title": "Moved digits",
    "procedure": "train",
    "epochs": 2,
    "batch_size": 300,
    "flush_seconds": 0.0,
    "shift": 2,
    "flip": True,
    "dataset": {"name": "digits"},
    "architecture": {"name": "mlp", "widths": [64, 16, 10]},
    "optimizer": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9},
    "scheduler": {"name": "constant"},
    "metrics": [{"name": "pattern_distance", "every": "1 step"}],
}


# digits are normalised: what 0 has become
BLACK = -DIGITS.mean[0] / DIGITS.std[0]


def moved(
    image: np.ndarray, down: int, right: int, mirrored: bool, fill: Sequence[float] = (0.0, 0.0, 0.0)
) -> np.ndarray:
    result = np.empty_like(image)
    for channel in range(len(image)):
        result[channel] = fill[channel]
    channels, height, width = image.shape
    for channel in range(channels):
        for y in range(height):
            for x in range(width):
                column = width - 1 - x if mirrored else x
                if 0 <= y + down < height and 0 <= x + right < width:
                    result[channel, y + down, x + right] = image[channel, y, column]
    return result


def which(
    image: np.ndarray, found: np.ndarray, shift: int, flip: bool, fill: Sequence[float] = (0.0, 0.0, 0.0)
) -> list[tuple[int, int, bool]]:
    reach = range(-shift, shift + 1)
    ways = [(down, right, way) for down in reach for right in reach for way in ((False, True) if flip else (False,))]
    return [one for one in ways if np.allclose(moved(image, *one, fill), found, rtol=0, atol=1e-6)]


@given(
    samples=st.integers(1, 4),
    channels=st.integers(1, 3),
    height=st.integers(3, 6),
    width=st.integers(3, 6),
    shift=st.integers(0, 2),
    flip=st.booleans(),
    seed=st.integers(0, 2**63 - 1),
)
def test_each_image_is_moved_and_mirrored_as_by_loops(
    samples: int, channels: int, height: int, width: int, shift: int, flip: bool, seed: int
) -> None:
    images = 1 + torch.rand(samples, channels, height, width, generator=torch.Generator().manual_seed(0))
    before = images.clone()
    fill = [-1.5, 0.25, -3.0][:channels]
    found = augment(images, shift=shift, flip=flip, fill=fill, seed=seed)
    assert torch.equal(images, before)
    assert found.shape == images.shape
    for image, one in zip(images.numpy(), found.numpy(), strict=True):
        assert len(which(image, one, shift, flip, fill)) == 1
    assert torch.equal(augment(images, shift=shift, flip=flip, fill=fill, seed=seed), found)


def test_the_draws_are_uniform_and_independent() -> None:
    """Null: all 5 x 5 x 2 ways equally likely, for n = 5,000 images of one batch; chi-square, error 1e-6."""
    images = torch.arange(1.0, 26.0).reshape(1, 1, 5, 5).expand(5000, 1, 5, 5)
    ways = [(down, right, way) for down in range(-2, 3) for right in range(-2, 3) for way in (False, True)]
    table = {moved(images[0].numpy(), *way).tobytes(): number for number, way in enumerate(ways)}
    drawn = [table[one.numpy().tobytes()] for one in augment(images, shift=2, flip=True, seed=7)]
    assert scipy.stats.chisquare(np.bincount(drawn, minlength=50)).pvalue > 1e-6


def test_in_double_precision_and_with_channels_last() -> None:
    images = torch.rand(3, 2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = augment(images, shift=1, flip=True, seed=1)
    assert found.dtype == torch.float64
    last = augment(images.to(memory_format=torch.channels_last), shift=1, flip=True, seed=1)
    assert torch.equal(found, last)


def test_one_number_fills_all_channels() -> None:
    images = torch.rand(2, 3, 4, 4)
    one, each = (augment(images, shift=1, fill=fill, seed=0) for fill in ((-1.0,), (-1.0,) * 3))
    assert torch.equal(one, each)
    with pytest.raises(RecipeError, match="fill: got 2 numbers for images of 3 channels"):
        augment(images, shift=1, fill=(0.0, 0.0), seed=0)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("outer", [[], ["rescale"], ["subset", "rescale"], ["rescale", "pixel_shuffle"]])
def test_black_comes_in(outer: list[str], normalise: bool) -> None:
    """Some pixel of the digits is black, and none is darker."""
    keys: dict[str, dict[str, Any]] = {"rescale": {"factor": 2.0, "offset": -1.0}, "subset": {"train": 300}}
    dataset: dict[str, Any] = {"name": "digits", "normalise": normalise}
    for name in reversed(outer):
        dataset = {"name": name, "dataset": dataset, **keys.get(name, {})}
    recipe = {**RECIPE, "dataset": dataset, "epochs": 1, "metrics": []}
    (changed, *_), plain = seen_batches(recipe), seen_batches({**recipe, "shift": 0, "flip": False})
    darkest = float(min(batch.min() for batch in plain))
    for image, one in zip(plain[0][:60].numpy(), changed[:60].numpy(), strict=True):
        assert which(image, one, 2, True, [darkest])


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    augment(torch.zeros(2, 1, 4, 4), shift=1, flip=True, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("shape", "shift", "words"),
    [((2, 7), 1, r"shape \(7,\), expected an image"), ((2, 1, 5, 3), 3, "has 5 x 3 pixels, expected a number below 3")],
)
def test_what_is_refused(shape: tuple[int, ...], shift: int, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        augment(torch.zeros(shape), shift=shift, seed=0)


@pytest.mark.parametrize("procedure", ["train", "best_epoch"])
def test_a_training_refuses_what_are_no_images_before_it_begins(procedure: str) -> None:
    recipe = {
        **RECIPE,
        "procedure": procedure,
        "shift": 0,
        "dataset": {"name": "gaussian"},
        "architecture": {"name": "mlp", "widths": [10, 2]},
    }
    with pytest.raises(RecipeError, match="flip = true: a sample has shape"):
        rs.run(recipe, lab=LAB)


def seen_batches(recipe: dict[str, Any]) -> list[torch.Tensor]:
    seen: list[torch.Tensor] = []
    step = Training._step

    def watched(self: Training, inputs: torch.Tensor, labels: torch.Tensor) -> None:
        seen.append(inputs.clone())
        step(self, inputs, labels)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "_step", watched)
        rs.run(recipe, lab=LAB)
    return seen


def test_every_image_of_every_step_is_drawn_anew() -> None:
    """The images of a training with and without: the same in the same order, moved by draws that differ."""
    batch = {**RECIPE, "batch_size": 1294, "epochs": 2, "metrics": []}
    changed, plain = seen_batches(batch), seen_batches({**batch, "shift": 0, "flip": False})
    found = []
    for ours, theirs in zip(changed, plain, strict=True):
        ways = [
            which(image.numpy(), one.numpy(), 2, True, [BLACK])
            for image, one in zip(theirs[:60], ours[:60], strict=True)
        ]
        assert all(ways)
        found.append(ways)
    assert len({str(way) for way in found[0]}) > 10
    assert found[0] != found[1]
    other = seen_batches({**batch, "seed": 1, "epochs": 1})
    assert not torch.equal(other[0], changed[0])


def test_measurements_are_of_the_images_as_they_are() -> None:
    """Before training the numbers are those of a training without."""
    ours, theirs = (
        rs.run({**RECIPE, "shift": shift, "flip": flip, "metrics": []}, lab=LAB)["epoch"].to_dataset()
        for shift, flip in ((2, True), (0, False))
    )
    assert ours.sel(epoch=0).drop_vars("rate").equals(theirs.sel(epoch=0).drop_vars("rate"))
    assert not ours.sel(epoch=2).equals(theirs.sel(epoch=2))


def test_the_step_that_is_looked_at_is_the_one_that_is_taken() -> None:
    looked: list[torch.Tensor] = []
    taken = []
    step, backward = Training._step, Training._backward

    def watched(self: Training, inputs: torch.Tensor, labels: torch.Tensor) -> None:
        taken.append(inputs.clone())
        step(self, inputs, labels)

    def counted(self: Training, inputs: torch.Tensor, labels: torch.Tensor) -> float:
        looked.append(inputs.clone())
        return backward(self, inputs, labels)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "_step", watched)
        patch.setattr(Training, "_backward", counted)
        rs.run({**RECIPE, "epochs": 1}, lab=LAB)
    # each step is looked at before it is taken, the one after the last too
    assert len(taken) == 5
    assert len(looked) == 2 * len(taken) + 1
    for number, batch in enumerate(taken):
        assert torch.equal(looked[2 * number], batch)


def test_a_resumed_run_is_the_same_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, left = Context.checkpoint, [7]

    def interrupted(context: Context, state: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGINT)
        checkpoint(context, state)

    monkeypatch.setattr(Context, "checkpoint", interrupted)
    with pytest.raises(Interrupted):
        rs.run(RECIPE, lab=LAB, out=tmp_path / "run.nc")
    resumed = rs.run(RECIPE, lab=LAB, out=tmp_path / "run.nc", resume=True)
    expected = rs.run(RECIPE, lab=LAB)
    for group in ("step", "epoch", "every_step"):
        assert resumed[group].to_dataset().equals(expected[group].to_dataset())
