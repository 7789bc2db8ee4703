from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from reluscope.report import reading


def test_points_leave_out_the_seed(make_archive: Callable[..., xr.DataTree]) -> None:
    assert [point.label for point in reading.points(make_archive())] == ["step_decay", "one_cycle", "cyclic"]


def test_points_of_two_dims_and_of_none() -> None:
    data = xr.Dataset(
        {"loss": (("momentum", "width"), np.zeros((2, 3)))}, coords={"momentum": [0.5, 0.9], "width": [8, 16, 32]}
    )
    tree = xr.DataTree.from_dict({"/epoch": data})
    assert [point.label for point in reading.points(tree)] == ["all seeds"]
    tree.attrs["sweep_dims"] = json.dumps(["momentum", "width"])
    labels = [point.label for point in reading.points(tree)]
    assert labels[0] == "momentum = 0.5, width = 8"
    assert len(labels) == 6


def test_select_by_label() -> None:
    variable = xr.DataArray([1.0, 2.0], dims="width", coords={"width": [8, 16]})
    assert float(reading.select(variable, reading.Point(0, "", {"width": 16}))) == 2.0
    assert np.isnan(reading.select(variable, reading.Point(0, "", {"width": 9})))
    assert reading.select(variable, reading.Point(0, "", {"other": 9})).identical(variable)


def test_complete(make_archive: Callable[..., xr.DataTree]) -> None:
    assert reading.incomplete(make_archive()) == []


def test_incomplete(make_archive: Callable[..., xr.DataTree]) -> None:
    tree = make_archive()
    for variable in tree["epoch"].data_vars.values():
        variable.values[2, 1, 4:] = np.nan
        variable.values[2, 2] = np.nan
    outcome = {
        "diverged": (("scheduler", "seed"), [[False, False], [False, True]]),
        "reason": (("scheduler", "seed"), [["", ""], ["", "the loss is NaN"]]),
    }
    tree["outcome"] = xr.DataTree(xr.Dataset(outcome, coords={"scheduler": ["calm", "wild"], "seed": [0, 7]}))
    failed, begun, short = reading.incomplete(tree)
    assert failed == "Failed at scheduler = wild, seed = 7: the loss is NaN"
    assert begun == "Only 8 of 9 runs have begun."
    assert short == "1 of 8 runs stop before epoch 7 (group epoch)."


def test_points_that_were_never_reached_are_missed(make_archive: Callable[..., xr.DataTree]) -> None:
    tree = make_archive(schedulers=("step_decay",), seeds=1)
    tree.attrs["provenance"] = make_archive().attrs["provenance"]
    assert reading.incomplete(tree) == ["Only 1 of 9 runs have begun."]


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "[" * 100_000])
def test_attributes_that_are_not_what_they_should_be(text: str, make_archive: Callable[..., xr.DataTree]) -> None:
    tree = make_archive()
    tree.attrs |= {"provenance": text, "sweep_dims": text}
    assert reading.provenance(tree) == {}
    assert reading.sweep_dims(tree)[-1] == "seed"
    reading.incomplete(tree)
