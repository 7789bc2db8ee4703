"""The estimate of the number of regions: its mean is the number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from reluscope.errors import ObservationError
from reluscope_plugins.regions.box_regions import box_regions
from reluscope_plugins.regions.input_box import Box
from reluscope_plugins.regions.refinement import TOLERANCE, Refinement
from reluscope_plugins.regions.region_count_estimate import estimated_region_count


def network() -> nn.Sequential:
    torch.manual_seed(1)
    layers = [nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 1)]
    return nn.Sequential(*layers).double()


SIDES = torch.full((2,), 3.0)


def test_with_enough_cells_it_is_exact() -> None:
    exact = box_regions(network(), -SIDES, SIDES).sizes["region"]
    found = estimated_region_count(network(), -SIDES, SIDES, cells=exact, repeats=2)
    assert found.region_count_estimate.values.tolist() == [exact, exact]
    assert found.region_count_error == 0


class Choices:
    """Draws cells as told; what it was not told is the first, and noted with the number of choices."""

    def __init__(self, told: list[int]) -> None:
        self.told, self.counts = told, list[int]()

    def choice(self, count: int, _most: int, replace: bool) -> np.ndarray[Any, Any]:
        assert not replace
        self.counts.append(count)
        self.told += [0] * (len(self.counts) - len(self.told))
        return np.array([self.told[len(self.counts) - 1]])


def test_the_mean_over_all_choices_of_one_cell_is_exact() -> None:
    begin = Refinement(Box(network(), -SIDES, SIDES), TOLERANCE)
    estimates, told = [], list[int]()
    while True:
        choices = Choices(told)
        end = begin.followed(1, choices)  # type: ignore[arg-type]
        assert len(end.systems) == 1
        assert end.weight == math.prod(choices.counts)
        estimates.append(end.weight)
        told = choices.told
        while told and told[-1] == choices.counts[len(told) - 1] - 1:
            told.pop()
        if not told:
            break
        told[-1] += 1
    # each has the inverse of its estimate for a probability
    assert sum(1 / estimate for estimate in estimates) == pytest.approx(1.0)
    assert len(estimates) == box_regions(network(), -SIDES, SIDES).sizes["region"] > 20


def test_the_mean_of_many_is_the_exact_number() -> None:
    exact = box_regions(network(), -SIDES, SIDES).sizes["region"]
    found = estimated_region_count(network(), -SIDES, SIDES, cells=4, repeats=60, seed=2)
    assert len(set(found.region_count_estimate.values.tolist())) > 2
    # null: the mean is the exact number; 60 estimates, 1e-6 by Student's law
    assert abs(float(found.region_count) - exact) < 5.5 * float(found.region_count_error)


def test_seeds() -> None:
    first, again, other = (
        estimated_region_count(network(), -SIDES, SIDES, cells=2, repeats=3, seed=seed) for seed in (0, 0, 1)
    )
    assert first.equals(again)
    assert not first.equals(other)


@pytest.mark.parametrize(("option", "value"), [("cells", 0), ("cells", True), ("repeats", 1)])
def test_bad_input(option: str, value: int) -> None:
    with pytest.raises(ObservationError, match=f"{option} is {value}, expected an integer"):
        estimated_region_count(network(), -SIDES, SIDES, **{option: value})  # type: ignore[arg-type]
