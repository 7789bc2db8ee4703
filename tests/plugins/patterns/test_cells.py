"""Cells in a plane, against dictionaries of patterns and against what is known of lines."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from reluscope import schema
from reluscope.errors import ObservationError, UnknownNameError
from reluscope.observation import observe
from reluscope_plugins.patterns.cells import GLOBAL, cells, picture
from reluscope_plugins.patterns.colours import BORDERS, colours, palette
from reluscope_plugins.patterns.keys import row_keys, sample_keys
from reluscope_plugins.patterns.plane import Plane


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def labelled(patterns: list[Any]) -> list[int]:
    seen: dict[Any, int] = {}
    return [seen.setdefault(pattern, len(seen)) for pattern in patterns]


def dense(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).double()


def by_hand(model: nn.Sequential, inputs: torch.Tensor) -> list[list[bytes]]:
    """Pattern of each ReLU on each input, one input at a time."""
    found: list[list[bytes]] = [[] for layer in model if isinstance(layer, nn.ReLU)]
    for x in inputs:
        value, place = x[None], 0
        for layer in model:
            if isinstance(layer, nn.ReLU):
                found[place].append((value > 0).flatten().numpy().tobytes())
                place += 1
            value = layer(value)
    return found


@pytest.mark.parametrize("widths", [(2, 3, 1), (2, 16, 16, 5, 1), (3, 64, 64, 1), (2, 65, 1), (2, 200, 100, 1)])
def test_labels_are_those_of_a_dictionary(widths: tuple[int, ...]) -> None:
    model = dense(*widths)
    origin, first, second = (torch.randn(widths[0], dtype=torch.float64) for _ in range(3))
    plane = Plane(origin, (first, second))
    found = cells(model, plane, resolution=15, extent=2.0, batch_size=50)
    patterns = by_hand(model, plane.grid(15, 2.0).flatten(0, 1))
    assert found.site.values.tolist() == [*(f"{2 * i + 1}#0" for i in range(len(widths) - 2)), GLOBAL]
    for site, expected in zip(found.site.values, [*patterns, list(zip(*patterns, strict=True))], strict=True):
        labels = labelled(expected)
        assert found.cell.sel(site=site).values.flatten().tolist() == labels
        assert found.cell_count.sel(site=site) == max(labels) + 1
    assert found.cell.dtype == np.int32
    assert (found.cell.attrs["false_merge_bound"] == 0) == (max(widths[1:-1]) <= 64)
    assert found.cell.attrs["false_merge_bound"] < 1e-30
    assert found.pattern_bits.values.tolist() == [*widths[1:-1], sum(widths[1:-1])]
    assert found.cell_count.attrs["grid_points"] == 225


def test_result_is_labelled_as_the_schema_demands() -> None:
    found = cells(dense(2, 5, 1), Plane.axes(), resolution=4)
    schema.validate(found)
    assert found.cell.dims == found.cell_colour.dims == ("site", "y", "x")
    assert found.x.values.tolist() == found.y.values.tolist()
    np.testing.assert_allclose(found.x, [-5, -5 / 3, 5 / 3, 5], rtol=1e-15)


@pytest.mark.parametrize("lines", [1, 2, 3, 5, 7])
def test_lines_in_general_position(lines: int) -> None:
    """An odd number of tangents of a circle, evenly turned, makes 1 + D + D (D - 1) / 2 cells, all within the grid.

    The furthest crossing of seven is 1 / cos(3 pi / 7) = 4.5 from the centre.
    """
    model = nn.Sequential(nn.Linear(2, lines), nn.ReLU()).double()
    angles = torch.arange(lines, dtype=torch.float64) * (2 * math.pi / lines if lines > 2 else math.pi / 2) + 0.1
    with torch.no_grad():
        model[0].weight.copy_(torch.stack([angles.cos(), angles.sin()], dim=1))
        model[0].bias.fill_(-1.0)
    found = cells(model, Plane.axes(), "1#0", resolution=400)
    assert found.cell_count.item() == 1 + lines + math.comb(lines, 2)


def test_no_bias_makes_cones() -> None:
    """D lines through the origin make 2 D cones, and a point lies where its double lies."""
    angles = torch.arange(9, dtype=torch.float64) * (2 * math.pi / 9) + 0.1
    model = nn.Sequential(nn.Linear(2, 9, bias=False), nn.ReLU()).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.stack([angles.cos(), angles.sin()], dim=1))
    assert cells(model, Plane.axes(), "1#0", resolution=400).cell_count.item() == 2 * 9
    found = cells(model, Plane.axes(), "1#0", resolution=401)
    assert found.cell_count.item() == 2 * 9 + 1  # the origin itself, where no unit is active, is a point of this grid
    grid = found.cell.values[0]
    assert np.array_equal(grid[100:301, 100:301], grid[::2, ::2])


def proposition_2() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1), nn.ReLU())
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
        model[0].bias.fill_(1.0)
        model[2].weight.fill_(-1.0)
        model[2].bias.fill_(1.0)
    return model


def test_cells_beyond_the_first_layer_need_not_be_convex() -> None:
    """The counterexample of Hartmann 2025, proposition 2, with the numbers that are printed."""
    model = proposition_2()
    points = torch.tensor([[1.0, -3.0], [-3.0, 1.0], [-1.0, -1.0]])
    assert model(points).flatten().tolist() == [0.0, 0.0, 1.0]
    found = cells(model, Plane.axes(), resolution=7, extent=3.0)  # the whole numbers from -3 to 3
    second = found.cell.sel(site="3#0")
    one, other, between = (int(second.sel(x=x, y=y)) for x, y in points.tolist())
    assert one == other != between
    assert int(found.cell_count.sel(site="3#0")) == 2


def test_cells_of_the_first_layer_are_convex() -> None:
    """The point halfway between two of a cell lies in it; all pairs of a grid whose halfway points are on it."""
    grid = cells(dense(2, 8, 1), Plane.axes(), "1#0", resolution=21).cell.values[0]
    for (i, j), (k, m) in itertools.combinations(itertools.product(range(21), repeat=2), 2):
        if grid[i, j] == grid[k, m] and (i + k) % 2 == (j + m) % 2 == 0:
            assert grid[(i + k) // 2, (j + m) // 2] == grid[i, j]


@pytest.mark.parametrize("batch_size", [1, 7, 121, 5000])
def test_batches_do_not_matter(batch_size: int) -> None:
    model = dense(2, 12, 70, 1)
    whole = cells(model, Plane.axes(), resolution=11, batch_size=121)
    assert cells(model, Plane.axes(), resolution=11, batch_size=batch_size).identical(whole)


def test_a_part_of_a_picture_has_its_colours() -> None:
    model = dense(2, 20, 70, 1)
    large = cells(model, Plane.axes(), resolution=21, extent=4.0).cell_colour
    small = cells(model, Plane.axes(), resolution=11, extent=2.0).cell_colour
    inner = large.sel(x=small.x, y=small.y, method="nearest", tolerance=1e-9).values
    lines = np.isin(inner, BORDERS) | np.isin(small.values, BORDERS)
    assert ((small.values == inner) | lines).all()
    assert lines.mean() < 0.01
    assert np.isin(small.values, [*BORDERS, *palette()]).all()


def test_colours_are_those_of_the_patterns() -> None:
    model = dense(2, 12, 1)
    found = cells(model, Plane.axes(), "1#0", resolution=9)
    packed = observe(model, Plane.axes().grid(9).flatten(0, 1)).packed["1#0"]
    expected = colours(row_keys(packed)).reshape(9, 9)
    drawn = found.cell_colour.values[0]
    lines = np.isin(drawn, BORDERS)
    assert np.array_equal(drawn[~lines], expected[~lines])
    assert lines.mean() < 0.1


def convolutional() -> nn.Sequential:
    first = [nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2)]
    model = nn.Sequential(*first, nn.Conv2d(2, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 5)).double()
    model[1].running_mean.normal_()
    model[1].running_var.uniform_(0.5, 2.0)
    return model


def test_a_convolutions_cell_is_that_of_the_whole_picture() -> None:
    model = convolutional()
    plane = Plane.through(*torch.randn(3, 1, 6, 6, dtype=torch.float64))
    found = cells(model, plane, resolution=12, extent=1.5, batch_size=25)
    assert found.pattern_bits.values.tolist() == [2 * 36, 3 * 4, 84]
    patterns = by_hand(model.eval(), plane.grid(12, 1.5).flatten(0, 1))
    for site, expected in zip(found.site.values, [*patterns, list(zip(*patterns, strict=True))], strict=True):
        assert found.cell.sel(site=site).values.flatten().tolist() == labelled(expected)


class ThreeStates(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 40)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.hardtanh(self.linear(x))


def test_three_states() -> None:
    model = ThreeStates().double()
    found = cells(model, Plane.axes(), resolution=12)
    z = model.linear(Plane.axes().grid(12).flatten(0, 1))
    states = (z > -1).int() + (z >= 1).int()
    assert found.cell.values[0].flatten().tolist() == labelled([tuple(row.tolist()) for row in states])
    assert found.cell.attrs["false_merge_bound"] > 0
    assert found.pattern_bits.values.tolist() == [80, 80]


def state(model: nn.Module) -> list[Any]:
    tensors = [*model.named_parameters(), *model.named_buffers()]
    modules = [
        (module.training, len(module._forward_pre_hooks), len(module._forward_hooks)) for module in model.modules()
    ]
    names = [(name, id(value), value.data_ptr(), value.requires_grad) for name, value in tensors]
    return [modules, names, *(value.detach().clone() for _, value in tensors), torch.get_rng_state()]


def untouched(before: list[Any], after: list[Any]) -> bool:
    pairs = zip(before, after, strict=True)
    return all(torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other for one, other in pairs)


@pytest.mark.parametrize("training", [True, False])
def test_resnet18_as_torchvision_has_it(training: bool) -> None:
    model = torchvision.models.resnet18(num_classes=4).train(training)
    plane = Plane.through(*torch.randn(3, 3, 32, 32))
    before = state(model)
    found = cells(model, plane, resolution=5, extent=1.0, batch_size=10)
    assert untouched(before, state(model))
    with torch.no_grad():
        seen = observe(copy.deepcopy(model).eval(), plane.grid(5, 1.0).flatten(0, 1).float())
    whole = [seen.pattern[site].reshape(25, -1).numpy() for site in seen.sites]
    for site, patterns in zip(seen.sites, whole, strict=True):
        assert found.cell.sel(site=site).values.flatten().tolist() == labelled([row.tobytes() for row in patterns])
    together = labelled([b"".join(rows[index].tobytes() for rows in whole) for index in range(25)])
    assert found.cell.sel(site=GLOBAL).values.flatten().tolist() == together


def test_batch_norm_does_not_see_the_grid() -> None:
    model = convolutional().train()
    data = 3 * torch.randn(20, 1, 6, 6, dtype=torch.float64) + 1
    plane = Plane.through(*data[:3])
    fine = cells(model, plane, resolution=21, extent=2.0, statistics=data)
    coarse = cells(model, plane, resolution=11, extent=2.0, statistics=[data])
    for site in fine.site.values:
        part = fine.cell.sel(site=site).values[::2, ::2].flatten().tolist()
        assert coarse.cell.sel(site=site).values.flatten().tolist() == labelled(part)
    plain = cells(model, plane, resolution=11, extent=2.0)
    assert not np.array_equal(plain.cell, coarse.cell)
    # the three samples that span the plane have the patterns that training mode gives them among the data
    among = observe(copy.deepcopy(model).train(), data)
    shown = cells(model, plane, resolution=3, extent=1.0, statistics=data)
    for site in among.sites:
        expected = colours(sample_keys(among, site)[:3]).tolist()
        drawn = [int(shown.cell_colour.sel(site=site, x=x, y=y)) for x, y in ((0, 0), (1, 0), (0, 1))]
        assert drawn == expected


def test_data_off_the_centre_move_the_point_where_all_lines_meet() -> None:
    """Hartmann 2025, figure 2.8: without bias the lines meet in the mean of the data; with bias 1 a cell is there."""
    model = nn.Sequential(nn.Linear(2, 30), nn.BatchNorm1d(30), nn.ReLU()).double()
    data = torch.rand(5000, 2, dtype=torch.float64) * torch.tensor([2.0, 6.0]) - 3.0
    plane = Plane(data.mean(0), Plane.axes().directions)
    cones = cells(model, plane, "2#0", resolution=400, statistics=data)
    assert cones.cell_count.item() == 2 * 30
    with torch.no_grad():
        model[1].bias.fill_(1.0)
    around = cells(model, plane, "2#0", resolution=400, statistics=data)
    centre = around.cell.values[0][195:205, 195:205]
    assert len(np.unique(centre)) == 1
    assert around.cell_count.item() > 2 * 30


def test_sites_can_be_chosen() -> None:
    model = dense(2, 5, 4, 3, 1)
    whole = cells(model, Plane.axes(), resolution=9)
    for chosen in ("3#0", GLOBAL, ["3#0", GLOBAL], ["5#0", "1#0"], ["1#0", "1#0"]):
        found = cells(model, Plane.axes(), chosen, resolution=9)
        names = list(dict.fromkeys([chosen] if isinstance(chosen, str) else chosen))
        assert found.site.values.tolist() == names
        assert np.array_equal(found.cell, whole.cell.sel(site=names))
        assert np.array_equal(found.cell_colour, whole.cell_colour.sel(site=names))


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    cells(dense(2, 5, 1), Plane.axes(), resolution=5, batch_size=10, progress=lambda *done: told.append(done))
    assert told == [(10, 25), (20, 25), (25, 25)]


def failing(*, error: Callable[[], Exception]) -> nn.Module:
    class Failing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(2)
            self.calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            if self.calls > 2:
                torch.rand(5)
                raise error()
            return self.norm(x).relu()

    return Failing()


@pytest.mark.parametrize("statistics", [None, torch.ones(4, 2)])
def test_model_is_left_as_it_was_on_error(statistics: torch.Tensor | None) -> None:
    model = failing(error=KeyError)
    before = state(model)
    with pytest.raises(KeyError):
        cells(model, Plane.axes(), resolution=9, batch_size=10, statistics=statistics)
    assert untouched(before, state(model))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: cells(dense(2, 3, 1), Plane.axes(), "7#0"), UnknownNameError, "unknown site '7#0'"),
        (lambda: cells(dense(2, 3, 1), Plane.axes(), []), ObservationError, "got an empty list"),
        (lambda: cells(dense(2, 3, 1), Plane.axes(), batch_size=0), ObservationError, "batch_size: got 0"),
        (lambda: cells(dense(3, 3, 1), Plane.axes(), resolution=3), ObservationError, r"plane's shape \(2,\)"),
        (lambda: cells(nn.Linear(2, 2), Plane.axes()), ObservationError, "no activation function"),
        (
            lambda: cells(nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False), nn.ReLU()), Plane.axes()),
            ObservationError,
            "'0' keeps no running statistics",
        ),
    ],
)
def test_bad_input_says_what_is_wrong(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_a_picture_has_the_colours_with_y_upwards() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 5), nn.ReLU())
    found = cells(model, Plane.axes(), resolution=30)
    drawn = picture(found, "1#0")
    for x, y in [(0, 0), (29, 0), (4, 17)]:
        red, green, blue = drawn.getpixel((x, 29 - y))
        assert (red << 16) + (green << 8) + blue == int(found["cell_colour"].sel(site="1#0").values[y, x])


def test_a_picture_of_an_unknown_site_names_the_nearest() -> None:
    found = cells(nn.Sequential(nn.Linear(2, 5), nn.ReLU()), Plane.axes(), resolution=5)
    with pytest.raises(UnknownNameError, match="1#0"):
        picture(found, "1#1")
