from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

from reluscope.report import plots
from reluscope.report.numbers import plain


def family(tree: xr.DataTree, title: str) -> plots.Family:
    return next(family for family in plots.draw(tree)[0] if family.title == title)


def one(variable: xr.DataArray, **coords: Any) -> xr.DataTree:
    variable.attrs |= {"long_name": "a quantity", "units": "1"}
    return xr.DataTree.from_dict({"/epoch": variable.to_dataset(name="quantity").assign_coords(coords)})


def test_mean_and_band_over_seeds(make_archive: Callable[..., xr.DataTree]) -> None:
    tree = make_archive()
    values = tree["epoch"]["test_accuracy"].values
    accuracy = family(tree, "Accuracy")
    assert [figure["title"] for figure in accuracy.figures] == ["Test", "Validation", "Train"]
    series = accuracy.figures[0]["series"]
    assert [line["name"] for line in series] == ["step_decay", "one_cycle", "cyclic"]
    for place, line in enumerate(series):
        np.testing.assert_allclose(line["y"], values[place].mean(0), rtol=1e-4)
        np.testing.assert_allclose(line["low"], values[place].min(0), rtol=1e-4)
        np.testing.assert_allclose(line["high"], values[place].max(0), rtol=1e-4)
    assert "3 seeds" in accuracy.caption


def test_figures_of_a_family_share_their_range(make_archive: Callable[..., xr.DataTree]) -> None:
    tree = make_archive()
    figures = family(tree, "Loss").figures
    values = np.concatenate(
        [tree["epoch"][f"{split}_loss"].values.ravel() for split in ("train", "validation", "test")]
    )
    low, high = figures[0]["range"]
    assert all(figure["range"] == [low, high] for figure in figures)
    assert low < values.min() < values.max() < high


def test_units_are_split_by_site_with_quantiles(make_archive: Callable[..., xr.DataTree]) -> None:
    tree = make_archive()
    rate = tree["epoch"]["firing_rate"]
    first, second = family(tree, "Firing rate").figures
    assert (first["title"], second["title"]) == ("1.relu#0", "3.relu#0")
    pooled = rate.values[1][:, :, rate["unit_site"].values == "3.relu#0"]
    for place in range(rate.sizes["epoch"]):
        members = pooled[:, place].ravel()
        line = second["series"][1]
        assert line["y"][place] == pytest.approx(members.mean(), rel=1e-4)
        assert line["low"][place] == pytest.approx(np.quantile(members, 0.1), rel=1e-4)
        assert line["high"][place] == pytest.approx(np.quantile(members, 0.9), rel=1e-4)
    heat = family(tree, "Firing rate, site by site").figures[1]
    assert heat["rows"] == ["1.relu#0", "3.relu#0"]
    np.testing.assert_allclose(heat["z"][1], pooled.mean((0, 2)), rtol=1e-4)


def test_a_third_partys_metric_is_drawn(make_archive: Callable[..., xr.DataTree]) -> None:
    own = family(make_archive(), "Their own metric")
    assert own.caption.startswith("What a third party measures.")
    assert own.figures[0]["y_title"] == "furlong"


def test_many_sites_are_heat_maps_only(make_archive: Callable[..., xr.DataTree]) -> None:
    tree = make_archive(widths=(4,) * 120)
    titles = [family.title for family in plots.draw(tree)[0]]
    assert "Firing rate" not in titles
    assert len(family(tree, "Firing rate, site by site").figures[0]["rows"]) == 120


def test_more_sites_than_rows_are_averaged() -> None:
    values = np.arange(2 * 500.0).reshape(2, 500)
    tree = one(xr.DataArray(values, dims=("epoch", "site"), coords={"site": [f"s{i}" for i in range(500)]}))
    (figure,) = plots.draw(tree)[0][0].figures
    assert len(figure["rows"]) == len(figure["z"]) == 167
    assert figure["rows"][1] == "s3 …"
    assert figure["z"][1][0] == pytest.approx(np.mean([3, 4, 5]))
    assert figure["z"][-1][0] == pytest.approx(np.mean([498, 499]))


def test_long_axes_are_averaged_in_blocks() -> None:
    values = np.arange(1001.0)
    values[4] = np.nan
    tree = one(xr.DataArray(values, dims="step", coords={"step": np.arange(1001)}))
    (found,) = plots.draw(tree)[0]
    (figure,) = found.figures
    assert len(figure["x"]) == 334
    line = figure["series"][0]
    assert line["y"][:2] == [1.0, 4.0]
    assert line["low"][1] == 3.0
    assert line["high"][1] == 5.0
    assert "blocks of 3 steps" in found.caption


@pytest.mark.parametrize(
    ("dims", "kind"),
    [
        (("epoch",), "lines"),
        (("step",), "lines"),
        (("learning_rate",), "lines"),
        (("learning_rate", "site"), "lines"),
        (("epoch", "class"), "lines"),
        (("epoch", "bound"), "lines"),
        (("site",), "profile"),
        (("unit",), "profile"),
        (("class",), "profile"),
        ((), "profile"),
        (("seed",), "profile"),
        (("seed", "epoch", "unit"), "lines"),
    ],
)
@pytest.mark.parametrize("dtype", [float, "float32", int, bool])
def test_every_combination_of_dims(dims: tuple[str, ...], kind: str, dtype: Any) -> None:
    values = np.random.default_rng(0).random((3,) * len(dims)) * 9
    values -= 5 if dtype is bool and dims else 0  # some are true, some are not
    values = np.maximum(values, 0)
    families, left = plots.draw(one(xr.DataArray(values.astype(dtype), dims=dims)))
    assert left == []
    assert families[0].figures[0]["kind"] == kind


def test_swept_learning_rate_is_a_point() -> None:
    tree = one(xr.DataArray(np.ones((2, 3)), dims=("learning_rate", "epoch"), coords={"learning_rate": [0.1, 0.01]}))
    tree.attrs["sweep_dims"] = '["learning_rate"]'
    names = [line["name"] for line in plots.draw(tree)[0][0].figures[0]["series"]]
    assert names == ["learning_rate = 0.1", "learning_rate = 0.01"]


def test_what_cannot_be_drawn_is_told() -> None:
    data = xr.Dataset(
        {
            "text": ("epoch", ["a", "b"]),
            "deep": (("epoch", "site", "class"), np.zeros((2, 3, 4))),
            "nothing": ("epoch", [np.nan, np.inf]),
            "empty": ("sample", np.zeros(0)),
        }
    )
    families, left = plots.draw(xr.DataTree.from_dict({"/epoch": data}))
    assert families == []
    reasons = {item.name: item.reason for item in left}
    assert set(reasons) == {"epoch/text", "epoch/deep", "epoch/nothing", "epoch/empty"}
    assert "site, class" in reasons["epoch/deep"]
    assert "no finite value" in reasons["epoch/nothing"]


def test_a_gap_stays_a_gap() -> None:
    tree = one(xr.DataArray([[1.0, np.nan, np.inf, 4.0]], dims=("seed", "epoch")))
    assert plots.draw(tree)[0][0].figures[0]["series"][0]["y"] == [1.0, None, None, 4.0]


def test_variable_that_is_not_swept_is_drawn_once(make_archive: Callable[..., xr.DataTree]) -> None:
    tree = make_archive()
    fixed = xr.DataArray(np.ones(8), dims="epoch", attrs={"long_name": "fixed", "units": "1"})
    tree["epoch"] = tree["epoch"].to_dataset().assign(fixed=fixed)
    (figure,) = family(tree, "Fixed").figures
    assert len(figure["series"]) == 1


def test_more_points_than_can_be_told_apart(make_archive: Callable[..., xr.DataTree]) -> None:
    tree = make_archive(schedulers=tuple(f"s{i}" for i in range(30)), epochs=3)
    found = family(tree, "Affine rank")
    assert len(found.figures[0]["series"]) == plots.MAX_SERIES
    assert f"The first {plots.MAX_SERIES} of 30 points" in found.caption


def test_numbers_keep_five_digits_whatever_their_size() -> None:
    random = np.random.default_rng(0)
    values = random.standard_normal(2000) * 10.0 ** random.integers(-300, 300, 2000)
    shortened = plain(np.append(values, [0.0, np.nan, 5e-324]))
    np.testing.assert_allclose(shortened[:2000], values, rtol=6e-5)
    assert shortened[2000:] == [0.0, None, 5e-324]
    assert plain(np.array([0.30000004, 0.123456789, -1 / 3])) == [0.3, 0.12346, -0.33333]


def test_what_does_not_change_is_not_drawn_for_every_point(make_archive: Callable[..., xr.DataTree]) -> None:
    tree = make_archive()
    swept = {"scheduler": tree["epoch"]["scheduler"]}
    data = xr.Dataset(
        {"samples": (("scheduler", "class"), [[3, 5]] * 3), "pixel_mean": (("scheduler", "feature"), [[0.25]] * 3)},
        coords=swept,
    )
    tree["data"] = xr.DataTree(data)
    (series,) = family(tree, "Samples").figures[0]["series"]
    assert series["name"] == "every point of the sweep"
    assert series["y"] == [3.0, 5.0]
    assert [(item.name, item.reason) for item in plots.draw(tree)[1]] == [("data/pixel_mean", "is 0.25 throughout")]
