"""Laws of cells in a plane, on random networks and grids."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from reluscope_plugins.patterns.cells import GLOBAL, cells
from reluscope_plugins.patterns.colours import bordered, colours
from reluscope_plugins.patterns.plane import Plane


def network(widths: list[int], seed: int) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        linear = nn.Linear(inputs, outputs).double()
        with torch.no_grad():
            linear.weight.normal_(generator=generator)
            linear.bias.normal_(generator=generator)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers)


def first_seen(patterns: list[Any]) -> list[int]:
    seen: dict[Any, int] = {}
    return [seen.setdefault(pattern, len(seen)) for pattern in patterns]


networks = st.builds(
    network, st.lists(st.integers(1, 70), min_size=1, max_size=3).map(lambda hidden: [2, *hidden]), st.integers(0, 999)
)


@given(model=networks, resolution=st.integers(2, 9), extent=st.floats(0.1, 10), batch_size=st.integers(1, 100))
def test_labels_are_those_of_a_dictionary_however_the_grid_is_split(
    model: nn.Sequential, resolution: int, extent: float, batch_size: int
) -> None:
    found = cells(model, Plane.axes(), resolution=resolution, extent=extent, batch_size=batch_size)
    values, patterns = Plane.axes().grid(resolution, extent).reshape(-1, 2), []
    for layer in model:
        if isinstance(layer, nn.ReLU):
            patterns.append([tuple(row) for row in (values > 0).tolist()])
        values = layer(values)
    together = list(zip(*patterns, strict=True))
    for site, expected in zip(found.site.values, [*patterns, together], strict=True):
        assert found.cell.sel(site=site).values.ravel().tolist() == first_seen(expected)
        assert int(found.cell_count.sel(site=site)) == len(set(expected))
    # the cells of all sites together refine those of each
    assert (found.cell_count.sel(site=GLOBAL) >= found.cell_count).all()


@given(model=networks, resolution=st.integers(2, 9))
def test_negating_network_and_bias_mirrors_the_cells(model: nn.Sequential, resolution: int) -> None:
    """W(-x) - b = -(W x + b): with biases of the other sign the first layer's picture is turned by half a turn."""
    first = nn.Sequential(model[0], nn.ReLU())
    found = cells(first, Plane.axes(), "1#0", resolution=resolution)
    with torch.no_grad():
        first[0].bias.neg_()
    turned = cells(first, Plane.axes(), "1#0", resolution=resolution).cell.values[0][::-1, ::-1]
    assert first_seen(turned.ravel().tolist()) == found.cell.values[0].ravel().tolist()


@given(
    cell=st.lists(st.lists(st.integers(0, 5), min_size=4, max_size=4), min_size=1, max_size=5).map(np.array),
    palette=st.lists(st.integers(1, 3), min_size=6, max_size=6).map(np.array),
)
def test_neighbouring_cells_can_always_be_told_apart_and_other_points_keep_their_colours(
    cell: Any, palette: Any
) -> None:
    drawn, own = bordered(palette[cell], cell), palette[cell]
    for y, x in np.ndindex(cell.shape):
        before = [place for place in ((y, x - 1), (y - 1, x)) if min(place) >= 0 and cell[place] != cell[y, x]]
        assert all(drawn[place] != drawn[y, x] for place in before)
        assert drawn[y, x] in (own[y, x], 0, 0xFFFFFF)
        assert drawn[y, x] == own[y, x] or any(own[place] == own[y, x] for place in before)


@given(keys=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20))
def test_colour_is_a_function_of_the_key(keys: list[int]) -> None:
    together = colours(np.array(keys, dtype=np.uint64))
    alone = [int(colours(np.array([key], dtype=np.uint64))[0]) for key in keys]
    assert together.tolist() == alone
