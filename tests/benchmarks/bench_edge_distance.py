"""How fast the distance to the edge of a region is found, against a loop over units with autograd.

Run it with `make benchmarks`, among the others; it fails where a bound is missed. The data are those that
`RELUSCOPE_DATA` names.

The loop takes the gradient of one unit for all samples at once, and keeps the least of |z| over its norm: what one
writes without a library. The physical unit is the network's bare forward pass over the same batch: a distance cannot be
had for less.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from reluscope.lab import Lab
from reluscope.observation import observe
from reluscope_plugins.geometry.nearest_walls import NearestWalls, nearest_walls

LAB = Lab()
SAMPLES, IMAGES, ROUNDS = 600, 8, 5


def loop_over_units(model: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    """Distances by one backward pass for each unit.

    Args:
        model: A chain of modules.
        x: `(sample, ...)`.

    Returns:
        `(sample,)`.
    """
    x = x.clone().requires_grad_()
    distance, h = torch.full((len(x),), math.inf), x
    for layer in model:
        if isinstance(layer, nn.ReLU):
            for unit in range(h.shape[1]):
                (gradient,) = torch.autograd.grad(h[:, unit].sum(), x, retain_graph=True)
                length = gradient.flatten(1).norm(dim=1)
                distance = torch.minimum(
                    distance, torch.where(length > 0, h[:, unit].detach().abs() / length, math.inf)
                )
        h = layer(h)
    return distance


def seconds(work: Callable[[], object]) -> float:
    """Time one call.

    Args:
        work: What to time.

    Returns:
        Its wall time in seconds.
    """
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def found_in(model: nn.Module, x: torch.Tensor, **params: float) -> NearestWalls:
    """Observe and search.

    Args:
        model: The network.
        x: A batch.
        **params: Of `nearest_walls`.

    Returns:
        The nearest walls.
    """
    return nearest_walls(observe(model, x, affine=True), **params)


def bare(model: nn.Module, x: torch.Tensor) -> float:
    """Time the forward pass, the fastest of five.

    Args:
        model: The network.
        x: A batch.

    Returns:
        Seconds.
    """
    with torch.no_grad():
        return min(seconds(lambda: model(x)) for _ in range(5))


def dense(root: Path, widths: list[int], bound: float) -> Iterator[str]:
    """Compare on images of MNIST, taking turns; of each the fastest of five counts.

    Args:
        root: Folder with the data.
        widths: Of the network.
        bound: How many times faster than the loop it is to be.

    Yields:
        Lines to print.

    Raises:
        AssertionError: If it is slower.
    """
    images = LAB.datasets["mnist"].load("test", root).tensors[0][:SAMPLES]
    model = LAB.architectures["mlp"].build(widths=widths)
    expected = loop_over_units(model, images)
    found = found_in(model, images)
    torch.testing.assert_close(found.distance, expected, rtol=1e-3, atol=0)
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(seconds(lambda: found_in(model, images)))
        theirs.append(seconds(lambda: loop_over_units(model, images)))
    ratio = min(theirs) / min(ours)
    yield (
        f"{'-'.join(map(str, widths))}, {SAMPLES} images: {min(ours):.3f} s, the loop {min(theirs):.1f} s, "
        f"{ratio:.0f}x (at least {bound}x); {min(ours) / bare(model, images):.1f} bare passes; "
        f"{found.gradients / SAMPLES:.1f} gradients an image, of {found.walls}"
    )
    assert ratio >= bound


def residual(root: Path, *, certain: bool, limit: float) -> Iterator[str]:
    """Time the exact distance for images of CIFAR-10 through ResNet-20.

    Args:
        root: Folder with the data.
        certain: Whether gradients are bounded for certain, by all directions.
        limit: Seconds that it may take.

    Yields:
        Lines to print.

    Raises:
        AssertionError: If it takes longer.
    """
    with np.load(root / "cifar10/cifar10_10k.npz") as data:
        images = torch.from_numpy(data["x_test"][:IMAGES]).permute(0, 3, 1, 2).float() / 255
    model = LAB.architectures["resnet"].build(depth=20).eval()
    one = bare(model, images)
    results: list[NearestWalls] = []
    taken = seconds(lambda: results.append(found_in(model, images, **({"error": 0} if certain else {}))))
    found = results[0]
    gradient = observe(model, images, affine=True).walls().map
    gradient.check()
    single = seconds(lambda: gradient.rmatvec(torch.ones(gradient.shape[:2])))
    yield (
        f"resnet depth 20, {IMAGES} images, {'certain' if certain else 'error 1e-12'}: {taken:.1f} s (at most {limit} "
        f"s), {taken / one:.0f} bare passes; {found.gradients} gradients, {found.directions} directions, of "
        f"{found.walls} walls an image; every wall's gradient would take {single * found.walls / 3600:.1f} h"
    )
    assert taken <= limit


def folder() -> Path:
    """Return the folder with the data.

    Returns:
        The folder that `RELUSCOPE_DATA` names.
    """
    root = os.environ.get("RELUSCOPE_DATA")
    if not root:
        pytest.skip("RELUSCOPE_DATA is not set: point it at the folder with the real data")
    return Path(root)


def test_one_hidden_layer(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        for line in dense(folder(), [784, 200, 10], 50):
            print(line)


def test_five_hidden_layers(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        for line in dense(folder(), [784, 512, 512, 512, 512, 512, 10], 20):
            print(line)


@pytest.mark.parametrize("certain", [False, True])
def test_resnet(capsys: pytest.CaptureFixture[str], *, certain: bool) -> None:
    with capsys.disabled():
        for line in residual(folder(), certain=certain, limit=600 if certain else 60):
            print(line)
