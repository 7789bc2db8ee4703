"""Tables and intervals in an archive are neither drawn nor averaged."""

from __future__ import annotations

import numpy as np
import xarray as xr

from reluscope.report import reading
from reluscope.report.summary import summarise

ABOUT = {"long_name": "something", "units": "1"}


def test_tables_are_no_measured_variables_and_intervals_have_no_mean() -> None:
    epochs = {"epoch": ("epoch", [0, 1], ABOUT)}
    measured = {
        "entropy": ("epoch", [1.0, 2.0], ABOUT),
        "entropy_interval": (("epoch", "bound"), [[0.0, 1.0], [1.0, 3.0]], ABOUT),
    }
    table = {"pattern_count": (("epoch", "pattern"), np.ones((2, 5)), ABOUT)}
    tree = xr.DataTree.from_dict(
        {
            "/epoch": xr.Dataset(measured, {**epochs, "bound": ("bound", ["lower", "upper"], ABOUT)}),
            "/pattern_counts_epoch": xr.Dataset(table, epochs),
        }
    )
    assert [name for name, _ in reading.groups(tree)] == ["epoch"]
    assert [row.name for row in summarise(tree).rows] == ["entropy"]
