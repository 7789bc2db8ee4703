"""The classifier of singular vectors, against projections made one sample and class at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import reluscope as rs
from reluscope.errors import ObservationError, RecipeError
from reluscope.lab import Lab
from reluscope_plugins import architectures

SVD = Lab(plugins=[architectures]).architectures["svd_classifier"]


def data(samples: int = 60, shape: tuple[int, ...] = (2, 4), classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(samples) % classes
    centres = torch.randn(classes, *shape, generator=generator, dtype=torch.float64)
    return centres[labels] + torch.randn(samples, *shape, generator=generator, dtype=torch.float64), labels


@pytest.mark.parametrize("columns", [1, 3, 8])
def test_outputs_are_minus_squared_distances(columns: int) -> None:
    inputs, labels = data()
    model = SVD.build(columns=columns, features=8, classes=3).double()
    model.fit(inputs, labels)
    flat = inputs.flatten(1).numpy()
    expected = np.empty((60, 3))
    for label in range(3):
        left = np.linalg.svd(flat[labels.numpy() == label].T)[0][:, :columns]
        for sample, x in enumerate(flat):
            expected[sample, label] = -(np.linalg.norm(x - left @ (left.T @ x)) ** 2)
    # two sums of eight squares, each rounded a few times: errors of some 1e-16 times the squared length
    assert np.abs(model(inputs).numpy() - expected).max() < 1e-13 * (flat**2).sum(1).max()
    if columns == 8:
        assert np.abs(expected).max() < 1e-13 * (flat**2).sum(1).max()


def test_columns_are_orthonormal_and_the_greatest_come_first() -> None:
    inputs, labels = data()
    few, more = (SVD.build(columns=columns, features=8, classes=3).double() for columns in (2, 5))
    few.fit(inputs, labels)
    more.fit(inputs, labels)
    assert torch.equal(few.bases, more.bases[:, :, :2])
    product = more.bases.transpose(1, 2) @ more.bases
    assert (product - torch.eye(5, dtype=torch.float64)).abs().max() < 1e-14
    kept = (inputs.flatten(1)[labels == 0] @ more.bases[0]).square().sum(0)
    assert (kept[:-1] > kept[1:]).all()


def test_nothing_is_trained_and_the_bases_are_saved() -> None:
    model = SVD.build(columns=2, features=8, classes=3)
    inputs, labels = data()
    model.fit(inputs.float(), labels)
    assert not list(model.parameters())
    again = SVD.build(columns=2, features=8, classes=3)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(inputs.float()), model(inputs.float()))


def test_it_is_not_observed() -> None:
    model = SVD.build(columns=2, features=8, classes=3)
    inputs, labels = data()
    model.fit(inputs.float(), labels)
    with pytest.raises(ObservationError, match="SvdClassifier called no activation function"):
        rs.observe(model, inputs.float())


def test_bad_input_is_named() -> None:
    model = SVD.build(columns=2, features=8, classes=3)
    inputs, labels = data()
    with pytest.raises(ObservationError, match="has no bases yet; call fit"):
        model(inputs.float())
    with pytest.raises(ObservationError, match=r"takes samples of 8 values, got a batch of shape \(60, 7\)"):
        model.fit(torch.zeros(60, 7), labels)
    with pytest.raises(ObservationError, match="class 2 has 0 training samples"):
        model.fit(inputs[labels < 2], labels[labels < 2])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"columns": 0}, "columns is 0"),
        ({"columns": 9, "features": 8}, "expected at most features (8)"),
        ({"classes": 2.0}, "classes is 2.0"),
        ({"colums": 2}, "Did you mean 'columns'"),
    ],
)
def test_bad_values_are_named(params: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        SVD.build(**params)
    assert message in str(caught.value)
