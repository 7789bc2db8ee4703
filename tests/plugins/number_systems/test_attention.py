"""Computational attention, against networks at one precision, put together pixel by pixel."""

from __future__ import annotations

import copy
import math
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import reluscope as rs
from reluscope.errors import ObservationError, QuantizationError
from reluscope.quantization import quantized_layers
from reluscope.quantization_report import input_saturation
from reluscope_plugins.number_systems.attention import attend
from reluscope_plugins.number_systems.receptive_fields import receptive_fields


class Blurred:
    """A number system without chance: the mean over n draws of w is w (1 + 1 / n)."""

    bits = 32
    stochastic = True
    operations: ClassVar = {"add": 1}

    def encode(self, weight: Tensor) -> Tensor:
        return weight

    def decode(self, encoded: Tensor) -> Tensor:
        return encoded

    mean = decode

    def variance(self, encoded: Tensor, samples: int) -> Tensor:
        return torch.zeros_like(encoded)

    def counts(self, encoded: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        return torch.full(encoded.shape, samples)

    def from_counts(self, encoded: Tensor, counts: Tensor, samples: int) -> Tensor:
        assert bool((counts == samples).all())  # refined counts add to the first ones
        return encoded * (1 + 1 / samples)

    def draw(self, encoded: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        return encoded * (1 + 1 / samples)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1)
        self.down = nn.Conv2d(6, 6, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.last = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 4)

    def features(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.down(F.relu(self.stem(x), inplace=True))), inplace=True)
        y = self.last(x)
        y += x  # in place: what was recorded of the layer must not follow
        return F.relu(y, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(F.adaptive_avg_pool2d(self.features(x), 1).flatten(1))
        return logits


def trained_looking() -> Any:
    torch.manual_seed(0)
    model: Any = Residual().double().eval()
    with torch.no_grad():
        model.norm.running_mean.uniform_(-0.1, 0.1)
        model.norm.running_var.uniform_(0.5, 2)
    return model


def at_precision(model: Any, samples: int) -> Any:
    other = copy.deepcopy(model)
    with torch.no_grad():
        for layer in (other.stem, other.down, other.last, other.head):
            layer.weight *= 1 + 1 / samples
    return other


@pytest.mark.parametrize("threshold", ["image", "batch", "number"])
@pytest.mark.parametrize(
    ("score", "select", "margin"),
    [("entropy", "highest", 0), ("entropy", "random", 0), ("decision", "highest", 1), ("decision", "random", 0)],
)
def test_refined_pixels_are_those_of_the_precise_network(score: Any, select: Any, margin: int, threshold: Any) -> None:
    model = trained_looking()
    x = torch.randn(5, 2, 21, 18, dtype=torch.float64)
    rough, fine = at_precision(model, 2), at_precision(model, 32)
    with torch.no_grad():
        pixels, whole = rough.head(rough.features(x).permute(0, 2, 3, 1)), rough(x)
    scores = torch.zeros(pixels.shape[:3], dtype=x.dtype)
    for sample, row, column in torch.ones(scores.shape).nonzero().tolist():
        pixel = pixels[sample, row, column]
        chances = torch.softmax(pixel if score == "entropy" else whole[sample], 0)
        scores[sample, row, column] = -sum(chance * chance.log() for chance in chances)
        if score == "decision":
            first, second = whole[sample].argsort(descending=True)[:2]
            scores[sample, row, column] *= (pixel[first] - pixel[second]).abs()
    if threshold == "image":
        mask = torch.stack([one > one.mean() for one in scores])
    else:
        threshold = threshold if threshold == "batch" else float(scores.median()) + 1e-9
        mask = scores > (scores.mean() if threshold == "batch" else threshold)
    rs.quantize_(model, Blurred(), activations=None)
    found = attend(
        model, x, base_samples=2, refined_samples=32, score=score, select=select, threshold=threshold, margin=margin
    )
    with torch.no_grad():
        assert torch.allclose(found.first_logits, rough(x), rtol=0, atol=1e-12)
        assert torch.allclose(found.score, scores, rtol=0, atol=1e-12)
        if margin:
            mask = F.max_pool2d(mask.double(), 3, 1, 1) > 0
        if select == "random":
            assert not torch.equal(found.mask, mask)
            dims = (1, 2) if threshold == "image" else (0, 1, 2)
            assert torch.equal(found.mask.sum(dims), mask.sum(dims))
        else:
            assert torch.equal(found.mask, mask)
        # Windows of 3 x 3 at stride 1, then at stride 2, followed back.
        chosen = found.mask.unsqueeze(1)
        down = F.max_pool2d(chosen.double(), 3, 1, 1) > 0
        ones = torch.ones(1, 1, 3, 3, dtype=x.dtype)
        stem = F.conv_transpose2d(down.double(), ones, stride=2, padding=1, output_padding=(0, 1)) > 0
        for layer, mask in (("stem", stem), ("down", down), ("last", chosen)):
            assert torch.equal(found.layer_masks[layer][0], mask)
        assert list(found.layer_masks) == ["stem", "down", "last"]
        first = torch.where(stem, fine.stem(x), rough.stem(x)).relu()
        second = torch.where(down, fine.norm(fine.down(first)), rough.norm(rough.down(rough.stem(x).relu()))).relu()
        rough_second = rough.norm(rough.down(rough.stem(x).relu())).relu()
        features = (torch.where(chosen, fine.last(second), rough.last(rough_second)) + second).relu()
        assert torch.allclose(found.logits, fine.head(features.mean((2, 3))), rtol=0, atol=1e-12)
        assert torch.allclose(torch.where(chosen, features, 0), torch.where(chosen, fine.features(x), 0), atol=1e-12)
        far = ~down
        assert torch.allclose(torch.where(far, features, 0), torch.where(far, rough.features(x), 0), atol=1e-12)


def test_scaled_masks_let_refined_pixels_depend_on_rough_ones() -> None:
    model = trained_looking()
    x = torch.randn(3, 2, 12, 12, dtype=torch.float64)
    plain = copy.deepcopy(model)
    rs.quantize_(model, Blurred(), activations=None)
    found = attend(model, x, base_samples=1, refined_samples=4, carry="scaled")
    rough, fine = at_precision(plain, 1), at_precision(plain, 4)
    mask = found.mask.unsqueeze(1)
    large = mask.repeat_interleave(2, 2).repeat_interleave(2, 3)
    with torch.no_grad():

        def mixed(layer: str, at: Tensor, ours: Tensor, theirs: Tensor) -> Tensor:
            return torch.where(at, fine.get_submodule(layer)(ours), rough.get_submodule(layer)(theirs))

        stem = mixed("stem", large, x, x).relu()
        rough_stem = rough.stem(x).relu()
        rough_down = rough.norm(rough.down(rough_stem)).relu()
        down = torch.where(mask, fine.norm(fine.down(stem)).relu(), rough_down)
        last = (mixed("last", mask, down, rough_down) + down).relu()
        expected = fine.head(last.mean((2, 3)))
    assert torch.allclose(found.logits, expected, rtol=0, atol=1e-12)
    assert torch.equal(found.image_mask, large.squeeze(1))
    assert torch.equal(found.layer_masks["stem"][0], large)


def test_operations_are_counted() -> None:
    torch.manual_seed(0)
    model: Any = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(3, 4, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 5),
    )
    with torch.no_grad():
        model[0].weight[0, 0] = 0  # 9 weights of 54 that cost nothing
    rs.quantize_(model, "psb")
    found = attend(model, torch.randn(7, 2, 4, 4), base_samples=2, refined_samples=32)
    chosen = int(found.mask.sum())
    assert 0 < chosen < 7 * 16
    data = found.operations
    assert data.layer.values.tolist() == ["0", "2", "5"]
    assert data["first"].values.tolist() == [2 * 45 * 7 * 16, 2 * 12 * 7 * 16, 2 * 20 * 7 * 16]
    assert data["extra"].values == pytest.approx([30 * 45 * chosen, 30 * 12 * chosen, 30 * 20 * 7], rel=1e-12)
    assert data["redone"].values == pytest.approx([0, 2 * 12 * chosen, 2 * 20 * 7], rel=1e-12)
    assert data["everywhere"].values.tolist() == [32 * 45 * 7 * 16, 32 * 12 * 7 * 16, 32 * 20 * 7]
    assert data["share"].values == pytest.approx([chosen / 112, chosen / 112, 1], rel=1e-12)


@pytest.mark.parametrize("draws", ["pass", "held"])
def test_the_model_is_left_as_found_and_the_seed_says_all(draws: Any) -> None:
    model = trained_looking().train()
    rs.quantize_(model, "psb", samples=5, draws=draws, seed=1)
    x = torch.randn(3, 2, 9, 9, dtype=torch.float64)
    with torch.no_grad():
        model(x)
        twin = copy.deepcopy(model)
    first = attend(model, x, base_samples=2, refined_samples=32, seed=4)
    again = attend(model, x, base_samples=2, refined_samples=32, seed=4)
    chance = attend(model, x, base_samples=2, refined_samples=32, select="random", seed=4)
    other = attend(model, x, base_samples=2, refined_samples=32, seed=5)
    assert torch.equal(first.logits, again.logits)
    assert torch.equal(first.first_logits, chance.first_logits)
    assert torch.equal(first.score, chance.score)
    assert not torch.equal(first.first_logits, other.first_logits)
    # Where all is refined, it does not matter how it was chosen.
    whole = attend(model, x, base_samples=2, refined_samples=32, margin=9, seed=4)
    anywhere = attend(model, x, base_samples=2, refined_samples=32, margin=9, select="random", seed=4)
    assert bool(whole.mask.all())
    assert torch.equal(whole.logits, anywhere.logits)
    assert model.training
    assert model.stem.quantization.samples == 5
    assert model.stem.quantization.arithmetic.draws == draws
    assert torch.equal(model.norm.running_mean, twin.norm.running_mean)
    with torch.no_grad():
        assert torch.equal(model(x), twin(x))


def test_counts_of_inputs_are_left_as_found(monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained_looking()
    rs.quantize_(model, "psb")
    x = 200 * torch.randn(3, 2, 9, 9, dtype=torch.float64)
    with torch.no_grad():
        model(x)
    before = input_saturation(quantized_layers(model))
    assert int(before.saturated.sum()) > 0
    attend(model, x, base_samples=2, refined_samples=8)
    assert input_saturation(quantized_layers(model)).equals(before)

    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("reluscope_plugins.number_systems.attention.pixel_logits", interrupt)
    with pytest.raises(KeyboardInterrupt):
        attend(model, x, base_samples=2, refined_samples=8)
    assert input_saturation(quantized_layers(model)).equals(before)
    assert model.stem.quantization.samples == 16


@pytest.mark.parametrize("select", ["highest", "random"])
def test_masks_and_draws_are_where_the_images_are(select: Any) -> None:
    """Whatever device new tensors are made on: here one that holds no values."""
    model = trained_looking()
    rs.quantize_(model, "psb")
    x = torch.randn(2, 2, 9, 9, dtype=torch.float64)
    expected = attend(model, x, base_samples=2, refined_samples=8, select=select)
    with torch.device("meta"):
        found = attend(model, x, base_samples=2, refined_samples=8, select=select)
    assert torch.equal(found.logits, expected.logits)


def test_numbers_may_be_of_numpys_types() -> None:
    model = trained_looking()
    rs.quantize_(model, "psb")
    x = torch.randn(2, 2, 9, 9, dtype=torch.float64)
    plain = attend(model, x, base_samples=2, refined_samples=8, threshold=0.5, margin=1, seed=3)
    numbers: dict[str, Any] = {
        "base_samples": np.int64(2),
        "refined_samples": np.uint8(8),
        "threshold": np.float32(0.5),
        "margin": np.int32(1),
        "seed": np.int64(3),
    }
    assert torch.equal(attend(model, x, **numbers).logits, plain.logits)


def test_fields_may_be_given_and_must_fit() -> None:
    model = trained_looking()
    rs.quantize_(model, "psb")
    x = torch.randn(2, 2, 9, 9, dtype=torch.float64)
    fields = receptive_fields(model, x)
    given = attend(model, x, base_samples=1, refined_samples=8, fields=fields)
    assert torch.equal(given.logits, attend(model, x, base_samples=1, refined_samples=8).logits)
    with pytest.raises(QuantizationError, match="those of layer 'stem' are not of a call"):
        attend(model, x[..., :8], base_samples=1, refined_samples=8, fields=fields)


@pytest.mark.slow
def test_networks_of_torchvision() -> None:
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    x = torch.randn(2, 3, 65, 65)
    for name in ("resnet18", "mobilenet_v3_small"):
        model = models.get_model(name).eval()
        rs.quantize_(model, "psb")
        found = attend(model, x, base_samples=2, refined_samples=8)
        assert found.logits.shape == (2, 1000)
        assert found.mask.shape == (2, 3, 3)
    assert found.layer_masks["features.1.block.1.fc1"][0].shape == (2, 1, 1, 1)  # within a gate: a position for all
    model = models.vgg11().eval()
    rs.quantize_(model, "psb")
    with pytest.raises(ObservationError, match=r"VGG: found adaptive_avg_pool2d from \(2, 512, 2, 2\) to"):
        attend(model, x, base_samples=2, refined_samples=8)


def test_what_cannot_be_is_refused() -> None:
    x = torch.randn(2, 2, 9, 9, dtype=torch.float64)
    model = trained_looking()
    with pytest.raises(QuantizationError, match=r"call reluscope.quantize_ first"):
        attend(model, x, base_samples=2, refined_samples=8)
    refused: list[tuple[str, Any, str]] = [
        ("float32", "pass", "no draws to add to"),
        ("psb", "product", "draws='pass' or 'held'"),
    ]
    for system, draws, match in refused:
        model = trained_looking()
        rs.quantize_(model, system, draws=draws)
        with pytest.raises(QuantizationError, match=match):
            attend(model, x, base_samples=2, refined_samples=8)
    model = trained_looking()
    rs.quantize_(model, "psb")
    best: Any = "best"
    numbers: list[tuple[dict[str, Any], str]] = [
        ({"refined_samples": 2}, "refined_samples: got 2, expected a whole number from 3"),
        ({"base_samples": 0}, "base_samples: got 0, expected a whole number from 1"),
        ({"base_samples": True}, "base_samples: got True"),
        ({"margin": 1.0}, "margin: got 1.0"),
        ({"seed": "a"}, "seed: got 'a', expected a whole number from"),
        ({"seed": 2**64}, "seed: got 1844"),
    ]
    for changes, match in numbers:
        with pytest.raises(QuantizationError, match=match):
            attend(model, x, **{"base_samples": 2, "refined_samples": 8, **changes})
    batches: list[tuple[Any, str]] = [
        (x[:0], r"a tensor of shape \(0, 2, 9, 9\)"),
        (x[0], r"a tensor of shape \(2, 9, 9\)"),
        (x.numpy(), "ndarray"),
    ]
    for batch, match in batches:
        with pytest.raises(QuantizationError, match=f"x: got {match}, expected images as a tensor"):
            attend(model, batch, base_samples=2, refined_samples=8)
    with pytest.raises(QuantizationError, match="select: got 'best', expected 'highest' or 'random'"):
        attend(model, x, base_samples=2, refined_samples=8, select=best)
    for threshold in (best, math.nan, True):
        with pytest.raises(QuantizationError, match=r"threshold: got .*, expected 'image', 'batch' or a finite number"):
            attend(model, x, base_samples=2, refined_samples=8, threshold=threshold)
