"""Figures that a recipe declares, against slow references."""

from __future__ import annotations

import base64
import json
import statistics
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from reluscope.figures import Figure
from reluscope.report import declared, kinds, page, pictures, render
from reluscope.report.arrange import Labelled, numbered
from reluscope.report.axes import edges

LABEL = {"long_name": "number of cells", "units": "1"}
SITES = ["a", "b", "c", "d"]
DEPTHS = {1: ["a"], 2: ["a", "c"], 3: ["b", "c", "d"]}


def archive(figures: list[Any], **groups: xr.Dataset) -> xr.DataTree:
    random = np.random.default_rng(0)
    cells = np.full((2, 3, 7, 3, 4), np.nan)
    for depth, names in DEPTHS.items():
        for name in names:
            cells[:, depth - 1, :, :, SITES.index(name)] = random.integers(1, 1000, (2, 7, 3))
    cells[0, 2, 5:, 2] = np.nan  # two runs that were killed
    data = xr.Dataset(
        {
            "cells": (("norm", "depth", "seed", "epoch", "site"), cells, LABEL),
            "name": ("epoch", ["x", "y", "z"], LABEL),
        },
        coords={"norm": ["none", "batch"], "depth": [1, 2, 3], "seed": range(7), "epoch": [0, 1, 40], "site": SITES},
    )
    told = {"recipe": {"title": "cells", "figures": figures}}
    attrs = {"sweep_dims": '["norm", "depth", "seed"]', "provenance": json.dumps(told)}
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attrs), "/epoch": data, **groups})


def draw(tree: xr.DataTree) -> list[declared.Drawn]:
    return declared.draw(tree, json.loads(tree.attrs["provenance"])["recipe"], page.MAX_PLOT_BYTES)


def one(**keys: Any) -> declared.Drawn:
    (drawn,) = draw(archive([{"title": "Cells", "variable": "cells", **keys}]))
    return drawn


def known(values: xr.DataArray) -> list[float]:
    return [value for value in values.values.tolist() if value == value]


def test_lines_are_means_and_standard_deviations() -> None:
    drawn = one(kind="line", x="site", colour="depth", panel=["norm", "epoch"], select={"epoch": [0, 40]})
    data = archive([])["epoch"].dataset["cells"]
    assert drawn.problem == ""
    assert drawn.grid
    assert drawn.legend == ("depth", ["1", "2", "3"])
    assert [panel["title"] for panel in drawn.panels] == [
        f"{norm}, epoch {epoch}" for norm in ("none", "batch") for epoch in (0, 40)
    ]
    assert [panel["place"] for panel in drawn.panels] == [[1, 1], [1, 2], [2, 1], [2, 2]]
    for panel, (norm, epoch) in zip(
        drawn.panels, [("none", 0), ("none", 40), ("batch", 0), ("batch", 40)], strict=True
    ):
        assert panel["x"]["text"] == SITES
        assert panel["ordered"]
        for line, (depth, names) in zip(panel["series"], DEPTHS.items(), strict=True):
            for place, site in enumerate(SITES):
                if site not in names:
                    assert line["y"][place] is line["low"][place] is line["high"][place] is None
                    continue
                values = known(data.sel(norm=norm, depth=depth, epoch=epoch, site=site))
                middle, spread = statistics.fmean(values), statistics.stdev(values)
                assert line["y"][place] == pytest.approx(middle, rel=1e-4)
                assert line["low"][place] == pytest.approx(middle - spread, rel=1e-4, abs=1e-2)
                assert line["high"][place] == pytest.approx(middle + spread, rel=1e-4)
    assert "means over 7 seeds" in drawn.caption


@pytest.mark.parametrize("log", [False, True])
def test_boxes_are_percentiles_with_whiskers_and_outliers(log: bool) -> None:
    drawn = one(kind="box", x="site", align="number", panel="norm", select={"epoch": "last", "depth": 3}, log_y=log)
    data = archive([])["epoch"].dataset["cells"]
    assert [panel["title"] for panel in drawn.panels] == ["none", "batch"]
    for panel, norm in zip(drawn.panels, ("none", "batch"), strict=True):
        assert panel["x"]["text"] == ["1", "2", "3"]
        assert panel["y"]["log"] is log
        for item, site in zip(panel["series"][0]["boxes"], DEPTHS[3], strict=True):
            values = np.array(known(data.sel(norm=norm, depth=3, epoch=40, site=site)))
            low, middle, high = (float(np.percentile(values, share)) for share in (25, 50, 75))
            inside = [v for v in values if low - 1.5 * (high - low) <= v <= high + 1.5 * (high - low)]
            expected = [middle, low, high, min(inside), max(inside)]
            np.testing.assert_allclose(
                [item[k] for k in ("median", "low", "high", "bottom", "top")], expected, rtol=1e-4
            )
            assert item["outliers"] == sorted(set(values.tolist()) - set(inside))


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=12))
def test_a_box_holds_its_quartiles_between_its_whiskers(numbers: list[int]) -> None:
    item = kinds.box(np.array(numbers, float))
    assert item["bottom"] <= item["low"] <= item["median"] <= item["high"] <= item["top"]
    outside = [n for n in numbers if n < item["bottom"] or n > item["top"]]
    assert item["outliers"] == sorted(outside)
    reach = 1.5 * (item["high"] - item["low"])
    assert all(n < item["low"] - reach + 1e-2 or n > item["high"] + reach - 1e-2 for n in outside)


def test_a_box_of_every_colour_at_every_place() -> None:
    (panel,) = one(kind="box", x="depth", colour="norm", select={"site": "last", "epoch": 0}).panels
    data = archive([])["epoch"].dataset["cells"]
    assert panel["x"]["text"] == ["1", "2", "3"]
    for series, norm in zip(panel["series"], ("none", "batch"), strict=True):
        for item, (depth, names) in zip(series["boxes"], DEPTHS.items(), strict=True):
            values = known(data.sel(norm=norm, depth=depth, epoch=0, site=names[-1]))
            assert item["median"] == pytest.approx(statistics.median(values))


def test_a_box_holds_all_filters_of_a_layer_and_all_seeds() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(3, 2, 5))
    values[:, 0, 3:] = np.nan  # the first layer has three filters
    labels = {"seed": [0, 1, 2], "layer": ["a", "b"], "filter": range(5)}
    cosines = xr.Dataset({"cosine": (("seed", "layer", "filter"), values)}, coords=labels)
    figure = {"title": "c", "variable": "cosine", "group": "g", "x": "layer"}
    (drawn,) = draw(archive([{**figure, "kind": "box"}], g=cosines))
    assert drawn.problem == ""
    (panel,) = drawn.panels
    for item, layer in zip(panel["series"][0]["boxes"], range(2), strict=True):
        expected = np.nanpercentile(values[:, layer], [50, 25, 75])
        np.testing.assert_allclose([item[key] for key in ("median", "low", "high")], expected, rtol=1e-3)
    assert "Boxes over up to 15 values, of all filters and seeds" in drawn.caption
    (line,) = draw(archive([{**figure, "kind": "line"}], g=cosines))
    assert "filter, which the figure neither draws nor selects" in line.problem


def test_a_heatmap_is_the_mean_with_the_first_site_first() -> None:
    drawn = one(kind="heatmap", x="epoch", y="site", panel="depth", select={"norm": "none"}, maximum=500)
    data = archive([])["epoch"].dataset["cells"].sel(norm="none")
    for panel, (depth, names) in zip(drawn.panels, DEPTHS.items(), strict=True):
        assert panel["y"]["text"] == names
        assert panel["x"]["at"] == [0, 1, 40]
        assert panel["x"]["edges"] == [-0.5, 0.5, 20.5, 59.5]
        for row, site in zip(panel["z"], names, strict=True):
            for value, epoch in zip(row, (0, 1, 40), strict=True):
                assert value == pytest.approx(
                    statistics.fmean(known(data.sel(depth=depth, epoch=epoch, site=site))), rel=1e-4
                )
        assert panel["range"][1] == 500
        assert panel["beyond"]
    assert "Red cells lie beyond the scale." in drawn.caption


def test_rows_relative_to_their_greatest_value() -> None:
    drawn = one(kind="heatmap", x="epoch", y="site", align="number", relative=True, select={"norm": "none", "depth": 3})
    data = archive([])["epoch"].dataset["cells"].sel(norm="none", depth=3)
    (panel,) = drawn.panels
    assert panel["y"]["title"] == "site number"
    for row, site in zip(panel["z"], DEPTHS[3], strict=True):
        means = [statistics.fmean(known(data.sel(epoch=epoch, site=site))) for epoch in (0, 1, 40)]
        np.testing.assert_allclose(row, np.array(means) / max(means), rtol=1e-4)


def probed(**changes: Any) -> xr.DataTree:
    random = np.random.default_rng(1)
    about = {"long_name": "share", "units": "1"}
    probe = xr.Dataset(
        {
            "share": (("schedule", "seed", "epoch", "learning_rate", "site"), random.random((2, 3, 4, 5, 2)), about),
            "rate": (("schedule", "seed", "epoch"), random.uniform(1e-3, 1, (2, 3, 4)), about),
        },
        coords={
            "schedule": ["up", "down"],
            "seed": range(3),
            "epoch": [0, 1, 2, 3],
            "learning_rate": np.geomspace(1e-4, 1, 5),
            "site": ["a", "b"],
        },
    )
    steps = xr.Dataset(
        {"rate": (("schedule", "seed", "step"), random.uniform(1e-3, 1, (2, 3, 1200)), about)},
        coords={"schedule": ["up", "down"], "seed": range(3), "step": range(1, 1201)},
    )
    within = probe.drop_vars("rate").assign_coords(epoch=[0, 10, 20, 30]).rename(epoch="step")
    figure = {
        "title": "Sensitivity",
        "kind": "heatmap",
        "variable": "share",
        "x": "epoch",
        "y": "learning_rate",
        "panel": ["schedule", "site"],
        "over": "rate",
        "log_y": True,
        **changes,
    }
    told = {"recipe": {"title": "probe", "figures": [figure]}}
    attrs = {"sweep_dims": '["schedule", "seed"]', "provenance": json.dumps(told)}
    return xr.DataTree.from_dict(
        {"/": xr.Dataset(attrs=attrs), "/epoch": probe, "/step": steps, "/every_10_steps": within}
    )


def test_a_line_over_a_heatmap_is_that_of_its_panel() -> None:
    tree = probed(select={"schedule": ["down", "up"]})
    (drawn,) = draw(tree)
    assert drawn.problem == ""
    assert "The white line is the rate." in drawn.caption
    assert [panel["title"] for panel in drawn.panels] == ["down, a", "down, b", "up, a", "up, b"]
    for panel, schedule in zip(drawn.panels, ("down", "down", "up", "up"), strict=True):
        assert panel["over"]["x"] == [0, 1, 2, 3]
        rates = tree["epoch"].dataset["rate"].sel(schedule=schedule)
        expected = [statistics.fmean(rates.sel(epoch=epoch).values.tolist()) for epoch in range(4)]
        assert panel["over"]["y"] == pytest.approx(expected, rel=1e-4)
        assert panel["y"]["log"]
        assert panel["y"]["edges"][0] == pytest.approx(10**-4.5, rel=1e-4)


def test_a_line_that_the_group_lacks_is_that_of_the_steps() -> None:
    tree = probed(x="step", group="every_10_steps", panel="schedule", select={"site": "b"})
    (drawn,) = draw(tree)
    rates = tree["step"].dataset["rate"].mean("seed")
    assert [panel["x"]["at"] for panel in drawn.panels] == [[0, 10, 20, 30]] * 2
    for panel, schedule in zip(drawn.panels, ("up", "down"), strict=True):
        assert panel["over"]["x"] == [2 + 3 * block for block in range(400)]
        expected = rates.sel(schedule=schedule).values.reshape(400, 3).mean(1)
        np.testing.assert_allclose(panel["over"]["y"], expected, rtol=1e-4)


def test_a_line_has_gaps_where_a_logarithmic_axis_has_no_place() -> None:
    tree = probed(select={"schedule": "up", "site": "a"}, panel=[])
    rates = tree["epoch"]["rate"].copy()
    rates[0, :, 1] = np.nan
    rates[0, :, 3] = 0.0
    tree["epoch"] = xr.DataTree(tree["epoch"].to_dataset().assign(rate=rates))
    (panel,) = draw(tree)[0].panels
    assert [value is None for value in panel["over"]["y"]] == [False, True, False, True]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"over": "rat"}, "Did you mean 'rate'?"),
        ({"over": "share"}, "has the dim learning_rate"),
        ({"y": "site", "panel": ["schedule", "learning_rate"]}, "both axes must be of numbers"),
    ],
)
def test_a_heatmap_without_its_line_says_why(changes: dict[str, Any], word: str) -> None:
    select = {} if "y" in changes else {"site": "a"}
    (drawn,) = draw(probed(select=select, **{"panel": "schedule", "log_y": "y" not in changes} | changes))
    assert drawn.problem == ""
    assert f"No line of {changes.get('over', 'rate')}:" in drawn.caption
    assert word in drawn.caption
    assert not any("over" in panel for panel in drawn.panels)


def test_large_maps_and_long_lines_are_averaged_in_blocks() -> None:
    values = np.arange(1300 * 3.0).reshape(1300, 3)
    data = xr.Dataset({"v": (("step", "site"), values, LABEL)}, coords={"step": np.arange(1300), "site": list("abc")})
    common = {"title": "t", "variable": "v", "group": "step", "x": "step"}
    figures = [{**common, "kind": "heatmap", "y": "site"}, {**common, "kind": "line", "select": {"site": "b"}}]
    heat, line = draw(archive(figures, **{"/step": data}))
    assert "blocks of 3 by 1" in heat.caption
    np.testing.assert_allclose(heat.panels[0]["z"][2][:2], [values[:3, 2].mean(), values[3:6, 2].mean()])
    assert heat.panels[0]["x"]["text"][:2] == ["0 to 2", "3 to 5"]
    assert "blocks of 4" in line.caption
    np.testing.assert_allclose(line.panels[0]["series"][0]["y"][0], values[:4, 1].mean())


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 6), st.randoms(use_true_random=False))
def test_numbers_of_sites_against_a_loop(points: int, seeds: int, sites: int, random: Any) -> None:
    values = np.array([random.choice([1.5, 2.5, np.nan]) for _ in range(points * seeds * sites)]).reshape(
        seeds, sites, points
    )
    labels = {"seed": list(range(seeds)), "site": list(range(sites)), "depth": list(range(points))}
    found = numbered(Labelled(("seed", "site", "depth"), labels, values), ["depth", "seed"])
    expected = [
        [site for site in range(sites) if any(values[s, site, point] == values[s, site, point] for s in range(seeds))]
        for point in range(points)
    ]
    assert found.labels["site"] == list(range(1, max(1, *map(len, expected), 0) + 1))
    for point, own in enumerate(expected):
        for number in range(len(found.labels["site"])):
            got = found.values[:, number, point]
            np.testing.assert_array_equal(
                got, values[:, own[number], point] if number < len(own) else np.full(seeds, np.nan)
            )


def test_labels_that_are_not_there_are_told() -> None:
    drawn = one(
        kind="line", x="epoch", align="number", colour="site", panel=["norm", "depth"], select={"epoch": [1, 7, "last"]}
    )
    assert "Not in this archive: epoch 7." in drawn.caption
    assert drawn.panels[0]["x"]["at"] == [1, 40]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"variable": "celsl"}, ["no variable 'celsl'", "'cells'"]),
        ({"group": "ecpoh"}, ["no group 'ecpoh'", "'epoch'"]),
        ({"variable": "name"}, ["not numbers"]),
        ({"x": "step"}, ["no dim 'step'", "norm, depth"]),
        ({"panel": "norm"}, ["the dim depth,", "neither draws nor selects"]),
        ({"select": {"step": 1}}, ["no dim 'step'"]),
        ({"select": {"epoch": [7, 8]}}, ["no epoch 7, 8"]),
        ({"panel": [], "select": {"epoch": 1}}, ["the dims norm, depth"]),
        ({"log_x": True, "x": "epoch", "colour": "site", "select": {"epoch": 0}}, ["No place", "epoch 0"]),
    ],
)
def test_what_cannot_be_drawn_says_why(keys: dict[str, Any], words: list[str]) -> None:
    base = {"kind": "line", "x": "site", "colour": "epoch", "panel": ["norm", "depth"]}
    drawn = one(**{**base, **keys})
    assert drawn.panels == []
    assert [word for word in words if word not in drawn.problem] == []
    tree = archive([{"title": "Cells", "variable": "cells", **base, **keys}])
    assert "Not drawn." in render(tree)


def test_a_run_of_which_nothing_is_there_yet() -> None:
    tree = archive([{"title": "Cells", "kind": "line", "variable": "cells", "x": "site"}])
    tree["epoch"] = xr.DataTree(tree["epoch"].to_dataset()[["cells"]].isel(norm=0, depth=0, epoch=0) * np.nan)
    assert draw(tree)[0].problem == "Nothing of it has been recorded."
    del tree["epoch"]
    assert "no group 'epoch'" in draw(tree)[0].problem


def test_a_sweep_that_went_is_drawn_without_its_dim() -> None:
    tree = archive(
        [{"title": "t", "kind": "line", "variable": "cells", "x": "site", "colour": "depth", "panel": "norm"}]
    )
    tree["epoch"] = xr.DataTree(tree["epoch"].to_dataset().sel(depth=3, norm="none", epoch=0, drop=True))
    (drawn,) = draw(tree)
    assert "does not vary norm, depth" in drawn.caption
    assert len(drawn.panels) == 1


def test_a_logarithmic_axis() -> None:
    drawn = one(kind="line", x="epoch", log_x=True, log_y=True, colour="site", panel=["norm", "depth"])
    assert "No place on the logarithmic axis: epoch 0." in drawn.caption
    for panel in drawn.panels:
        assert panel["x"]["at"] == [1, 40]
        assert panel["range"][0] > 0
        assert all(low > 0 for series in panel["series"] for low in series["low"] if low is not None)


def test_edges_of_cells() -> None:
    assert edges([3.0], False).tolist() == [2.5, 3.5]
    np.testing.assert_allclose(edges([1.0, 10.0, 1000.0], True), [10**-0.5, 10**0.5, 100, 10**4])


def pixels(data: bytes) -> np.ndarray[Any, Any]:
    """Reads the kinds of PNG that are written, the slow way, as (row, column, red green blue alpha)."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        (size,), name = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size : at + 12 + size])[0] == zlib.crc32(name + body)
        chunks[name], at = body, at + 12 + size
    width, height, depth, kind, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, rest) == (8, [0, 0, 0])
    raw = zlib.decompress(chunks[b"IDAT"])
    deep = {2: 3, 3: 1, 6: 4}[kind]
    found = np.zeros((height, width, 4), int)
    for row in range(height):
        line = raw[row * (1 + deep * width) : (row + 1) * (1 + deep * width)]
        assert line[0] == 0
        for column in range(width):
            pixel = list(line[1 + deep * column : 1 + deep * (column + 1)])
            if kind == 3:
                place = pixel[0]
                pixel = [*chunks[b"PLTE"][3 * place : 3 * place + 3], chunks[b"tRNS"][place]]
            found[row, column] = (*pixel, 255)[:4]
    return found


@pytest.mark.parametrize("colours", [3, 256, 257, 2000])
@pytest.mark.parametrize("missing", [False, True])
def test_png_of_any_number_of_colours(colours: int, missing: bool) -> None:
    random = np.random.default_rng(colours)
    palette = random.choice(0x1000000, colours, replace=False).astype(float)
    picture = np.concatenate([palette, random.choice(palette, 60 * 41 - colours)]).reshape(41, 60)
    if missing:
        picture[7, 9] = np.nan
    found = pixels(pictures.png(picture))
    for row in range(41):
        for column in range(60):
            value = picture[row, column]
            if value != value:
                assert found[row, column, 3] == 0
            else:
                number = int(value)
                assert found[row, column].tolist() == [number // 65536, number // 256 % 256, number % 256, 255]


@pytest.mark.parametrize("dtype", ["uint32", "int64", "float64"])
def test_pictures_point_upwards_and_have_their_marks(dtype: str) -> None:
    colour = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).astype(dtype) * 1000
    coords = {"norm": ["none", "batch"], "site": list("abc"), "y": [-3.0, -1.0, 1.0, 3.0], "x": np.arange(5.0)}
    plane = xr.Dataset(
        {
            "cell_colour": (("norm", "site", "y", "x"), colour, LABEL),
            "point_x": (("norm", "point"), [[0.0, 1.0], [2.0, 3.0]], LABEL),
            "point_y": ("point", [-2.0, 2.0], LABEL),
        },
        coords=coords,
    )
    keys = {"title": "Cells", "kind": "picture", "variable": "cell_colour", "group": "plane"}
    (drawn,) = draw(archive([{**keys, "panel": ["norm", "site"]}], **{"/plane": plane}))
    assert [panel["title"] for panel in drawn.panels] == [
        f"{norm}, {site}" for norm in ("none", "batch") for site in "abc"
    ]
    for at, panel in enumerate(drawn.panels):
        row, column = divmod(at, 3)
        assert panel["x"] == {"title": "x", "range": [-0.5, 4.5]}
        assert panel["y"] == {"title": "y", "range": [-4.0, 4.0]}
        assert panel["points"] == [[[0.0, 1.0], [2.0, 3.0]][row], [-2.0, 2.0]]
        found = pixels(base64.b64decode(panel["image"].removeprefix("data:image/png;base64,")))
        value = found[..., 0] * 65536 + found[..., 1] * 256 + found[..., 2]
        np.testing.assert_array_equal(value, colour[row, column][::-1])
    assert "red dots" in drawn.caption
    tree = archive([{**keys, "panel": ["norm", "site"]}], **{"/plane": plane})
    text = render(tree)
    assert "Cell colour" not in [row.title for row in page.summarise(tree).rows]
    assert "data:image/png;base64," in text


@pytest.mark.parametrize("value", [-1.0, 0.5, 0x1000000])
def test_numbers_that_are_no_colours_are_not_drawn(value: float) -> None:
    plane = xr.Dataset({"cell_colour": (("y", "x"), [[0.0, value]], LABEL)}, coords={"y": [0.0], "x": [0.0, 1.0]})
    figure = {"title": "t", "kind": "picture", "variable": "cell_colour", "group": "plane"}
    (drawn,) = draw(archive([figure], **{"/plane": plane}))
    assert "no colours" in drawn.problem


def test_pictures_beyond_the_room_of_the_page_are_left_out() -> None:
    noise = np.random.default_rng(0).integers(0, 0x1000000, (30, 500, 500))
    coords = {"site": [f"s{i}" for i in range(30)], "y": np.linspace(-5, 5, 500), "x": np.linspace(-5, 5, 500)}
    plane = xr.Dataset({"cell_colour": (("site", "y", "x"), noise, LABEL)}, coords=coords)
    figure = {"title": "t", "kind": "picture", "variable": "cell_colour", "group": "plane", "panel": "site"}
    tree = archive([figure, figure], **{"/plane": plane})
    first, second = draw(tree)
    assert f"Only {len(first.panels)} of 30 panels are drawn" in first.caption
    assert 0 < len(first.panels) < 30
    assert second.problem == "It would make the page too large."
    assert len(render(tree).encode()) < 15_000_000


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028\"'{{ 7*7 }}"


def test_a_strangers_figures_are_plain_text() -> None:
    figure = {"title": HOSTILE, "caption": HOSTILE, "x_label": HOSTILE, "y_label": HOSTILE, "variable": "cells"}
    drawn = {**figure, "kind": "box", "x": "site", "panel": "depth", "colour": "norm", "select": {"epoch": 0}}
    wrong = [{**drawn, "kind": HOSTILE}, {**drawn, "variable": HOSTILE}, {**drawn, "select": {HOSTILE: HOSTILE}}]
    tree = archive([drawn, *wrong])
    data = tree["epoch"].to_dataset()
    data["cells"].attrs |= {"long_name": HOSTILE, "units": HOSTILE}
    tree["epoch"] = xr.DataTree(data.assign_coords(norm=[HOSTILE, "x"], site=[HOSTILE, *"bcd"]))
    text = render(tree)
    assert text.count("<script") == render(archive([])).count("<script")
    body = text.partition("<body>")[2].partition('<script type="application/json"')[0]
    assert "<img" not in body
    assert "alert(1)</script>" not in body
    assert "{{ 7*7 }}" in text
    assert [bool(each.problem) for each in draw(tree)] == [False, True, True, True]


@pytest.mark.parametrize(
    "figures", [3, {}, "text", [1, None, [], {}, {"title": 3}, {"title": "t", "kind": "pie"}, {"x": [1]}]]
)
def test_figures_that_are_none_are_told(figures: Any) -> None:
    drawn = draw(archive(figures))
    assert all(each.problem.startswith("Its declaration cannot be read") for each in drawn)
    assert len(drawn) == (len(figures) if isinstance(figures, list) else 0)
    render(archive(figures))


@pytest.mark.parametrize("sizes", [(), (1,), (3,), (2, 3)])
@pytest.mark.parametrize("kind", ["line", "box", "heatmap"])
@pytest.mark.parametrize("dtype", [bool, "int64", "float32"])
def test_every_kind_draws_every_type(sizes: tuple[int, ...], kind: str, dtype: str) -> None:
    dims = ("seed", "class")[: len(sizes)]
    values = np.random.default_rng(0).integers(0, 5, (*sizes, 2, 2)).astype(dtype)
    data = xr.Dataset({"v": ((*dims, "site", "epoch"), values, LABEL)}, coords={"site": ["a", "b"]})
    figure = {"title": "t", "kind": kind, "variable": "v", "group": "g", "x": "epoch"}
    figure |= {"y": "site"} if kind == "heatmap" else {"colour": "site"}
    (drawn,) = draw(archive([{**figure, "panel": list(dims[1:])}], **{"/g": data}))
    assert drawn.problem == ""
    assert Figure.model_validate(figure)


def test_nothing_declared_changes_nothing(make_archive: Callable[..., xr.DataTree]) -> None:
    assert 'id="drawn"' not in render(make_archive())
