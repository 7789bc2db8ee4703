"""What a classifier's metrics need: logits and labels that fit each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from reluscope.errors import ObservationError

if TYPE_CHECKING:
    from reluscope.observation import Observation


def labelled_logits(observation: Observation, name: str) -> tuple[Tensor, Tensor]:
    """Take logits and labels from an observation.

    Args:
        observation: One batch.
        name: Name of the metric, for messages.

    Returns:
        Logits `(sample, class)` and labels, int64 `(sample,)`, on one device.

    Raises:
        ObservationError: If they are no logits and labels, or do not fit each other.
    """
    logits, labels = observation.output, observation.target
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        got = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise ObservationError(
            f"metric {name!r}: the model's output is {got}, expected logits (sample, class); wrap the model so that it "
            "returns them"
        )
    if not isinstance(labels, Tensor):
        raise ObservationError(
            f"metric {name!r}: targets are {type(labels).__name__}, expected a tensor of labels (sample,); pass one"
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ObservationError(
            f"metric {name!r}: targets have dtype {labels.dtype}, expected integer labels; pass class indices, "
            "for one-hot targets y.argmax(1)"
        )
    if labels.shape != logits.shape[:1]:
        raise ObservationError(
            f"metric {name!r}: targets have shape {tuple(labels.shape)}, expected ({logits.shape[0]},), one label a "
            "sample; squeeze or pair them anew"
        )
    labels = labels.to(logits.device, torch.int64)
    outside = labels[(labels < 0) | (labels >= logits.shape[1])]
    if outside.numel():
        raise ObservationError(
            f"metric {name!r}: label {int(outside[0])} is out of range, expected 0 to {logits.shape[1] - 1} as the "
            f"model has {logits.shape[1]} outputs; mend the labels or the model's width"
        )
    return logits, labels
