"""Others' trained weights under the names used here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from reluscope.errors import RecipeError
from reluscope.lab import Lab
from reluscope_plugins import architectures
from reluscope_plugins.architectures.akamaster import from_akamaster

RESNET = Lab(plugins=[architectures]).architectures["resnet"]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def theirs(depth: int, *, prefix: str = "module.", counters: bool = False) -> dict[str, torch.Tensor]:
    """A checkpoint with a number of its own in each tensor, named as in their resnet.py."""
    names = ["conv1.weight"]
    norm = ["weight", "bias", "running_mean", "running_var"] + (["num_batches_tracked"] if counters else [])
    names += [f"bn1.{value}" for value in norm]
    for layer in (1, 2, 3):
        for block in range((depth - 2) // 6):
            for number in (1, 2):
                names.append(f"layer{layer}.{block}.conv{number}.weight")
                names += [f"layer{layer}.{block}.bn{number}.{value}" for value in norm]
    names += ["linear.weight", "linear.bias"]
    return {f"{prefix}{name}": torch.tensor(float(number)) for number, name in enumerate(names)}


@pytest.mark.parametrize("depth", [8, 20, 56])
@pytest.mark.parametrize("counters", [False, True])
@pytest.mark.parametrize("prefix", ["module.", ""])
def test_names_are_those_of_the_network_in_its_order(depth: int, counters: bool, prefix: str) -> None:
    given = theirs(depth, prefix=prefix, counters=counters)
    got = from_akamaster(given, depth)
    assert set(got) == set(RESNET.build(depth=depth).state_dict())
    # Both networks list their layers in the order of the forward pass.
    order = [name for name in RESNET.build(depth=depth).state_dict() if counters or "num_batches" not in name]
    assert [got[name].item() for name in order] == list(range(len(given)))
    if not counters:
        assert {got[name].item() for name in got if "num_batches" in name} == {0}
        assert all(not got[name].is_floating_point() for name in got if "num_batches" in name)


def test_missing_and_superfluous_names_are_refused() -> None:
    given = theirs(20)
    del given["module.layer2.1.bn2.running_var"]
    with pytest.raises(RecipeError, match=r"1 weights are missing, the first is 'layer2\.1\.bn2\.running_var'"):
        from_akamaster(given)
    given = theirs(20) | {"module.fc.weight": torch.zeros(1)}
    with pytest.raises(RecipeError, match=r"1 weights are superfluous, the first is 'fc\.weight'"):
        from_akamaster(given)
    with pytest.raises(RecipeError, match=r"depth 20: 60 weights are superfluous"):
        from_akamaster(theirs(32), 20)
    with pytest.raises(RecipeError, match="are missing"):
        from_akamaster({})
    with pytest.raises(RecipeError, match="depth is 21"):
        from_akamaster({}, 21)


@pytest.mark.data
def test_resnet20_reaches_what_its_authors_report(data_root: Path) -> None:
    """91.73 % of the 10,000 CIFAR-10 test images: 9173, exactly.

    The least margin between the two largest logits of an image is about 0.002, far above what rounding moves.
    """
    checkpoint = torch.load(data_root / "cifar10" / "resnet20-12fca82f.th", map_location="cpu", weights_only=True)
    model = RESNET.build(depth=20, version=1)
    model.load_state_dict(from_akamaster(checkpoint["state_dict"]))
    model.eval()
    with np.load(data_root / "cifar10" / "cifar10_10k.npz") as data:
        images, labels = data["x_test"], torch.from_numpy(data["y_test"].astype(np.int64))
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    x = (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    assert len(x) == 10_000
    with torch.inference_mode():
        predicted = torch.cat([model(batch).argmax(dim=1) for batch in x.split(250)])
    assert (predicted == labels).sum().item() == 9173
