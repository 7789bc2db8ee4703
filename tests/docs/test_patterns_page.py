"""The page on the metrics of patterns lists each of them, with the units and the range that it declares."""

from __future__ import annotations

import re
from pathlib import Path

import reluscope as rs
from reluscope_plugins import patterns

PAGE = Path(__file__).parents[2] / "docs" / "patterns.md"


def test_every_metric_is_listed_as_it_is_declared() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| (\w+) \| ([^|]+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    listed = {name: (units, range_) for name, units, range_ in rows}
    assert len(listed) == len(rows)
    declared = {}
    for metric in rs.Lab(plugins=[patterns]).metrics.values():
        assert metric.minimum is not None
        end = f"from {metric.minimum:g}" if metric.maximum is None else f"{metric.minimum:g} to {metric.maximum:g}"
        declared[metric.name] = (metric.units, end)
    assert listed == declared
