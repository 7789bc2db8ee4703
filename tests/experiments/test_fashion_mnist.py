"""The network F1 on FashionMNIST, at full length: `make experiments`."""

from __future__ import annotations

import pytest

import reluscope as rs

pytestmark = [pytest.mark.slow, pytest.mark.data]


def test_f1_reaches_what_the_source_prints(data_root):
    # Hartmann 2025, table 3.2 prints 90.6 %, the mean of three tuned runs; at least 89 % is asked of one untuned run.
    tree = rs.run("fashion_mnist_f1", data_root=data_root)
    accuracy = tree["epoch/test_accuracy"].sel(epoch=15).item()
    assert accuracy >= 0.89
