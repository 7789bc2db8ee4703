"""The folding network has as many regions as Montúfar's bound says, in any dimension and in the plane."""

from __future__ import annotations

import pytest
import torch

from reluscope.errors import ObservationError
from reluscope_plugins.regions.box_regions import box_regions
from reluscope_plugins.regions.folding_network import folding_network
from reluscope_plugins.regions.plane_regions import plane_regions
from reluscope_plugins.regions.region_bounds import montufar_lower_bound, pascanu_lower_bound, serra_upper_bound

SHAPES = [
    (1, [3]),
    (1, [3, 4, 2]),
    (2, [2, 4]),
    (2, [4, 4, 4]),
    (2, [5, 7, 6]),
    (3, [3, 2]),
    (3, [6, 5]),
    (3, [7, 6, 4]),
    (4, [9, 5]),
]


@pytest.mark.parametrize(("inputs", "widths"), SHAPES)
def test_it_attains_the_bound(inputs: int, widths: list[int]) -> None:
    model = folding_network(inputs, widths)
    found = box_regions(model, torch.zeros(inputs), torch.ones(inputs)).sizes["region"]
    assert found == montufar_lower_bound(inputs, widths)
    assert pascanu_lower_bound(inputs, widths) <= found <= serra_upper_bound(inputs, widths)
    assert [layer.out_features for layer in model if isinstance(layer, torch.nn.Linear)] == [*widths, 1]


@pytest.mark.parametrize("widths", [[2, 4], [5, 7, 6], [9, 8, 5], [4, 4, 4, 4, 4, 4]])
def test_it_attains_the_bound_in_the_plane(widths: list[int]) -> None:
    window = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    found = plane_regions(folding_network(2, widths), window=window)
    assert found.sizes["region"] == montufar_lower_bound(2, widths)


@pytest.mark.parametrize(("inputs", "widths"), [(0, [3]), (2, []), (2, [1, 4])])
def test_bad_input(inputs: int, widths: list[int]) -> None:
    with pytest.raises(ObservationError, match="expected"):
        folding_network(inputs, widths)
