"""Hartmann 2025, chapter 4, on a trained ResNet-20: what the source concludes from its table 4.2.

Statistical tests: null, sample size and error probability in each docstring; seeds are fixed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats
import torch
from torch import Tensor, nn

import reluscope as rs
from reluscope_plugins.architectures.akamaster import from_akamaster
from reluscope_plugins.architectures.resnet import resnet
from reluscope_plugins.number_systems.attention import attend
from reluscope_plugins.number_systems.receptive_fields import receptive_fields

ERROR = 1e-6
BATCH = 40
Numbers = npt.NDArray[np.float64]


def trained_resnet20(data_root: Path) -> tuple[nn.Module, Tensor, Tensor]:
    """The shared network, and the 10,000 test images of CIFAR-10 as it takes them, with their labels."""
    model = resnet(20).eval()
    path = data_root / "cifar10" / "resnet20-12fca82f.th"
    model.load_state_dict(from_akamaster(torch.load(path, map_location="cpu", weights_only=True)["state_dict"]))
    with np.load(data_root / "cifar10" / "cifar10_10k.npz") as arrays:
        images, labels = torch.from_numpy(arrays["x_test"]), torch.from_numpy(arrays["y_test"]).long()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return model, ((images / 255 - mean) / std).permute(0, 3, 1, 2).contiguous(), labels


def attention_accuracies(
    data_root: Path, *, carry: Literal["receptive", "scaled"], batches: int, base_samples: int = 2, margin: int = 0
) -> dict[str, Numbers]:
    """Accuracies `(batch,)` at 2/32 samples and what it cost, weights drawn anew for each batch of 40 images.

    Entropy and random selection see the same draws.
    """
    model, images, labels = trained_resnet20(data_root)
    rs.quantize_(model, "psb")
    fields = receptive_fields(model, images[:1])
    rows: list[dict[str, float]] = []
    for batch in range(batches):
        here = slice(batch * BATCH, (batch + 1) * BATCH)
        row: dict[str, float] = {}
        for select in ("entropy", "random"):
            found = attend(
                model,
                images[here],
                base_samples=base_samples,
                refined_samples=32,
                select=select,
                margin=margin,
                carry=carry,
                fields=fields,
                seed=batch,
            )
            cost = found.operations.sum("layer")
            row |= {
                "first": float((found.first_logits.argmax(1) == labels[here]).double().mean()),
                "share": float(found.mask.double().mean()),
                select: float((found.logits.argmax(1) == labels[here]).double().mean()),
                f"{select} cost": float((cost["first"] + cost.extra) / cost.everywhere),
                f"{select} cost redone": float((cost["first"] + cost.extra + cost.redone) / cost.everywhere),
            }
        rows.append(row)
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}


@pytest.mark.slow
@pytest.mark.parametrize("carry", ["receptive", "scaled"])
def test_entropy_is_not_two_points_better_than_chance(data_root: Path, carry: Literal["receptive", "scaled"]) -> None:
    """Null: at 2/32 samples refining where the entropy is high gains 2 points over refining anywhere.

    Against table 4.2's 12 points of ResNet-18 on ImageNet. n = 50 batches of 40 images, each with its own draws; the
    difference is that of pairs with the same images and draws. Student's t, error probability 1e-6.
    """
    found = attention_accuracies(data_root, carry=carry, batches=50)
    difference = found["entropy"] - found["random"]
    spread = difference.std(ddof=1) / np.sqrt(len(difference))
    assert (0.02 - difference.mean()) / spread > scipy.stats.t.isf(ERROR, len(difference) - 1)
    assert 0.3 < found["share"].mean() < 0.4
