"""Every metric that comes with the framework stands in a table of the documentation, as it declares itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import reluscope as rs
from reluscope.entries import Metric

ROOT = Path(__file__).parents[2]
LAB = rs.Lab()
OWN = [
    metric
    for name, metric in LAB.metrics.items()
    if LAB.origin("metrics", name).module.startswith("reluscope_plugins.")
]
ROW = re.compile(r"^\| `(?P<name>\w+)` \|(?P<what>.*)\| (?P<units>\w+) \| (?P<range>[^|]+) \|$", re.MULTILINE)


def rows(name: str) -> list[tuple[str, re.Match[str]]]:
    """Rows of a metric in the tables of all pages, each with the page's name."""
    pages = sorted((ROOT / "docs").glob("*.md"))
    return [
        (page.name, row)
        for page in pages
        for row in ROW.finditer(page.read_text(encoding="utf-8"))
        if row["name"] == name
    ]


def declared_range(metric: Metric) -> str:
    if metric.minimum is None:
        return "any"
    return f"from {metric.minimum:g}" if metric.maximum is None else f"{metric.minimum:g} to {metric.maximum:g}"


def test_there_are_metrics() -> None:
    assert {"patterns", "temperature", "geometry", "performance"} <= {
        LAB.origin("metrics", metric.name).module.split(".")[1] for metric in OWN
    }


@pytest.mark.parametrize("metric", OWN, ids=lambda metric: metric.name)
def test_every_metric_stands_in_one_table_as_it_is_declared(metric: Metric) -> None:
    found = rows(metric.name)
    assert len(found) == 1, f"{metric.name} stands in {len(found)} rows of the tables of docs/, expected one"
    page, row = found[0]
    assert (row["units"], row["range"]) == (metric.units, declared_range(metric)), page
    assert len(row["what"].strip()) > 5, page


@pytest.mark.parametrize("metric", [one for one in OWN if "step" in one.needs], ids=lambda metric: metric.name)
def test_metrics_of_a_step_name_their_source(metric: Metric) -> None:
    _, row = rows(metric.name)[0]
    assert re.search(r"\d\.\d", row["what"].rsplit("|", 1)[1]), "expected an equation, figure or section"
