"""Points in the plane, in four classes that lie like the squares of a checkerboard."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import torch

from reluscope.random_state import derived_seed
from reluscope_plugins.datasets.checks import SPLITS, check_choice, check_integer
from reluscope_plugins.datasets.samples import Samples

NAME = "checkerboard"
CLASSES = 4
EDGE = math.sqrt(3)
"""Half the side of the square: a uniform coordinate then has mean 0 and standard deviation 1."""


def checkerboard(
    split: str,
    root: str | Path | None = None,
    *,
    samples: int = 50_000,
    cells: int = 4,
    rule: Literal["grid", "printed"] = "grid",
    seed: int = 0,
) -> Samples:
    """Draw points uniformly from the square [-sqrt(3), sqrt(3)]^2, each labelled by the square that it lies in.

    With `rule = "grid"` the plane is cut into squares, `cells` along each side, and the class of column i and row j is
    `(i + j) mod 4`: each row is the one below, moved by one. The formula that the source prints has the same sum before
    it is rounded down, `floor((x + y) / sqrt(3) * 4) mod 4`: that depends on x + y alone, so its classes are diagonal
    stripes without any squares, and not the checkerboard with rows and columns that the text beside it describes;
    `rule = "printed"` gives it.

    Args:
        split: `"train"`, `"validation"` or `"test"`: each drawn for itself.
        root: Not looked at: nothing is read.
        samples: Points of the train split and of the test split; a tenth as many validate.
        cells: Squares along each side; without effect on the printed rule.
        rule: `"grid"` or `"printed"`.
        seed: Seed of the draw.

    Returns:
        Points (sample, feature), with two features, and labels 0 to 3. Nothing is left to normalise: mean 0 and
        standard deviation 1 are those of the distribution.

    References:
        Hartmann 2025, appendix A.2.2, figure A.5, equation A.11: 200 batches of 250 points, as many for testing.

    Example:
        >>> points, labels = checkerboard("train", samples=100)[:]
        >>> points.shape, labels.unique()
        (torch.Size([100, 2]), tensor([0, 1, 2, 3]))
    """
    check_integer(NAME, "samples", samples, 1)
    check_integer(NAME, "cells", cells, 1)
    check_integer(NAME, "seed", seed, 0)
    check_choice(NAME, "rule", rule, ("grid", "printed"))
    count = max(1, samples // 10) if split == "validation" else samples
    generator = torch.Generator().manual_seed(derived_seed(seed, SPLITS.index(split)))
    points = ((2 * torch.rand(count, 2, generator=generator, dtype=torch.float64) - 1) * EDGE).to(torch.float32)
    names = tuple(map(str, range(CLASSES)))
    return Samples(points, checkerboard_class(points, cells=cells, rule=rule), name=NAME, classes=names)


def checkerboard_class(
    points: torch.Tensor, *, cells: int = 4, rule: Literal["grid", "printed"] = "grid"
) -> torch.Tensor:
    """Say of which class points are.

    Args:
        points: (sample, feature), two features from -sqrt(3) to sqrt(3).
        cells: Squares along each side.
        rule: `"grid"` or `"printed"`, as for `checkerboard`.

    Returns:
        (sample,), 0 to 3.

    Example:
        >>> checkerboard_class(torch.tensor([[-1.7, -1.7], [-0.8, -1.7], [-0.8, -0.8]]))
        tensor([0, 1, 2])
    """
    values = points.double()
    if rule == "printed":
        squares = torch.floor(values.sum(1) / EDGE * 4)
    else:
        # rounded to float32, a point may lie on the edge of the domain, or a hair beyond
        squares = torch.floor((values + EDGE) / (2 * EDGE) * cells).clamp(0, cells - 1).sum(1)
    return squares.remainder(CLASSES).to(torch.int64)
