"""The metric keeps the laws and gives the right numbers, and the claim holds."""

import pytest
import torch
from reluscope_example import kink_distance

import reluscope as rs
from reluscope.testing import check_claim, check_metric


def test_laws():
    check_metric(kink_distance)


def test_by_hand():
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    x = torch.tensor([[1.0, 2.0], [-1.0, 0.5]])
    distances = [abs(z) for row in model[0](x).tolist() for z in row]
    dataset = rs.measure(model, [x], metrics=[kink_distance])
    assert float(dataset["kink_distance"].sel(site="1#0")) == pytest.approx(sum(distances) / 6)


def test_claim():
    check_claim("kink_reach")


def test_it_is_installed(lab):
    assert lab.metrics["kink_distance"] is kink_distance
    assert lab.origin("metrics", "kink_distance").distribution == "reluscope-example"
