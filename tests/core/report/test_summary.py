from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from reluscope.report import reading
from reluscope.report.summary import final, mean, summarise, value_text


def test_final_values_against_plain_loops(make_archive: Callable[..., xr.DataTree]) -> None:
    tree = make_archive()
    summary = summarise(tree)
    rows = {row.name: row for row in summary.rows}
    data = tree["epoch"].to_dataset()
    for name in ("test_accuracy", "firing_rate", "their_own_metric"):
        for place, point in enumerate(summary.points):
            ends = []
            for seed in data.seed.values:
                values = data[name].sel(scheduler=point.selection["scheduler"], seed=seed, epoch=data.epoch[-1])
                ends.append(float(np.asarray(values).mean()))
            middle = sum(ends) / len(ends)
            spread = math.sqrt(sum((end - middle) ** 2 for end in ends) / (len(ends) - 1))
            cell = rows[name].cells[place]
            assert cell.mean == pytest.approx(middle)
            assert cell.spread == pytest.approx(spread)
            assert (cell.runs, cell.at) == (3, "")


def test_order_and_choice_of_rows(make_archive: Callable[..., xr.DataTree]) -> None:
    names = [row.name for row in summarise(make_archive()).rows]
    assert names[:6] == [
        f"{split}_{kind}" for kind in ("accuracy", "loss") for split in ("test", "validation", "train")
    ]
    assert {"firing_rate", "their_own_metric", "affine_rank"} == set(names[6:])


def test_one_seed_has_no_spread(make_archive: Callable[..., xr.DataTree]) -> None:
    cell = summarise(make_archive(seeds=1)).rows[0].cells[0]
    assert math.isnan(cell.spread)
    assert "±" not in str(cell)


def test_a_value_that_is_not_the_last_says_where_it_is_from(make_archive: Callable[..., xr.DataTree]) -> None:
    tree = make_archive()
    values = tree["epoch"]["test_loss"].values
    values[0, 1, 5:] = np.nan
    cell = next(row for row in summarise(tree).rows if row.name == "test_loss").cells[0]
    assert cell.at == "epoch 4"
    expected = np.mean([values[0, 0, -1], values[0, 1, 4], values[0, 2, -1]])
    assert cell.mean == pytest.approx(expected)
    assert "(epoch 4)" in str(cell)


def test_diverged_and_missing_values() -> None:
    data = xr.Dataset(
        {
            "loss": (("seed", "epoch"), [[1.0, np.inf], [1.0, 0.5]], {"units": "1", "long_name": "loss"}),
            "never": (("seed", "epoch"), np.full((2, 2), np.nan), {"units": "1", "long_name": "never"}),
        },
        coords={"seed": [0, 1], "epoch": [0, 1]},
    )
    rows = {row.name: row for row in summarise(xr.DataTree.from_dict({"/epoch": data})).rows}
    assert str(rows["loss"].cells[0]) == "not finite"
    assert str(rows["never"].cells[0]) == "-"
    assert rows["never"].cells[0].runs == 0


def test_final_at_a_label(make_archive: Callable[..., xr.DataTree]) -> None:
    tree = make_archive()
    data = tree["epoch"].to_dataset()
    point = reading.points(tree)[1]
    swept = reading.sweep_dims(tree)
    reached = {"epoch": reading.recorded(data, "epoch", swept)}
    cell = final(data["their_own_metric"], point, swept, reached, {"epoch": 3, "site": "3.relu#0"})
    expected = data["their_own_metric"].sel(scheduler="one_cycle", epoch=3, site="3.relu#0").values.mean()
    assert cell.mean == pytest.approx(expected)


def test_records_are_plain(make_archive: Callable[..., xr.DataTree]) -> None:
    records = summarise(make_archive(seeds=1)).records()
    assert [record["point"] for record in records] == [{"scheduler": s} for s in ("step_decay", "one_cycle", "cyclic")]
    assert records[0]["values"]["test_accuracy"]["spread"] is None


@pytest.mark.parametrize(
    ("value", "spread", "text"),
    [
        (0.95834, 0.00402, "0.9583 ± 0.0040"),
        (12.0, 3.3, "12.0 ± 3.3"),
        (1234.5, 150.0, "1234 ± 150"),
        (0.5, 0.0, "0.5 ± 0"),
        (1e-9, 1e-10, "1e-09 ± 1e-10"),
        (0.5, math.nan, "0.5"),
        (math.nan, math.nan, "-"),
        (math.inf, math.nan, "not finite"),
    ],
)
def test_value_text(value: float, spread: float, text: str) -> None:
    assert value_text(value, spread) == text


def test_mean_is_nanmean_without_its_warnings() -> None:
    values = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan]])
    np.testing.assert_equal(mean(values, 1), [2.0, np.nan])
    np.testing.assert_equal(mean(values, 0), [1.0, np.nan, 3.0])
