"""Loss and accuracy against a computation by hand, and the targets that they refuse."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from reluscope.entries import Metric
from reluscope.errors import ObservationError
from reluscope.observation import observe
from reluscope_plugins.performance import accuracy, loss

BOTH = pytest.mark.parametrize("entry", [loss, accuracy], ids=["loss", "accuracy"])


class PassThrough(nn.Module):
    """Gives its input, bit for bit, through activations that can be observed."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x) - torch.relu(-x)


LOGITS = PassThrough()


def logits(samples: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(samples, 3, generator=generator), torch.randint(3, (samples,), generator=generator)


def test_by_hand() -> None:
    x, y = logits()
    observation = observe(LOGITS, x, target=y)
    nats, right = 0.0, 0
    for row, label in zip(x.double().tolist(), y.tolist(), strict=True):
        nats += math.log(sum(math.exp(value) for value in row)) - row[label]
        right += row.index(max(row)) == label
    assert loss(observation).item() == pytest.approx(nats / 7, rel=1e-14)
    assert accuracy(observation).item() == right / 7
    assert loss(observation).attrs["units"] == "nat"


def test_large_logits_neither_overflow_nor_vanish() -> None:
    observation = observe(LOGITS, torch.tensor([[1e4, 0.0], [0.0, 1e4]]), target=torch.tensor([0, 0]))
    assert loss(observation).item() == 5000.0


@BOTH
def test_batches_of_different_size(entry: Metric) -> None:
    x, y = logits(10)
    state = None
    for rows in (slice(0, 1), slice(1, 8), slice(8, 10)):
        state = entry.merge(state, entry.measure(observe(LOGITS, x[rows], target=y[rows])))
    assert entry.finish(state).item() == pytest.approx(entry(observe(LOGITS, x, target=y)).item(), rel=1e-14)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_any_integer_labels_serve(dtype: torch.dtype) -> None:
    x, y = logits()
    for entry in (loss, accuracy):
        expected = entry(observe(LOGITS, x, target=y))
        assert entry(observe(LOGITS, x, target=y.to(dtype))).identical(expected)


@BOTH
@pytest.mark.parametrize(
    ("target", "message"),
    [
        (torch.zeros(7), "dtype torch.float32, expected integer labels"),
        (torch.zeros(7, dtype=torch.bool), "dtype torch.bool"),
        (torch.zeros(7, 1, dtype=torch.int64), r"shape \(7, 1\), expected \(7,\)"),
        (torch.zeros(6, dtype=torch.int64), r"shape \(6,\), expected \(7,\)"),
        (torch.tensor([0, 1, 2, 3, 0, 0, 0]), "label 3 is out of range, expected 0 to 2"),
        (torch.tensor([0, 1, 2, -100, 0, 0, 0]), "label -100 is out of range"),
        ([0] * 7, "targets are list, expected a tensor"),
        (None, "needs targets"),
    ],
    ids=["float", "bool", "column", "short", "large", "negative", "list", "none"],
)
def test_bad_targets(entry: Metric, target: object, message: str) -> None:
    with pytest.raises(ObservationError, match=message) as caught:
        entry.measure(observe(LOGITS, logits()[0], target=target))
    assert f"metric {entry.name!r}" in str(caught.value)


@BOTH
def test_an_output_that_is_no_logits(entry: Metric) -> None:
    with pytest.raises(ObservationError, match=rf"{entry.name}.*shape \(2, 3, 4\), expected logits"):
        entry.measure(observe(LOGITS, torch.zeros(2, 3, 4), target=torch.zeros(2, dtype=torch.int64)))
