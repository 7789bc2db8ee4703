"""The laws of a monoid hold for every metric that anybody installed."""

from __future__ import annotations

from reluscope.entries import Metric
from reluscope.testing import check_metric


def test_laws(installed_metric: Metric) -> None:
    check_metric(installed_metric)
