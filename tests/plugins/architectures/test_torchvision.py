"""torchvision's models by name, and what the entries declare."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import scipy.stats
import torch
from torchvision import models

from reluscope.errors import RecipeError, ReluscopeError
from reluscope.lab import Lab
from reluscope_plugins import architectures

LAB = Lab(plugins=[architectures])
TORCHVISION = LAB.architectures["torchvision"]
# Their constructors compute with tensors, which the meta device has no numbers for; one of them is built for real.
NOT_ON_META = "regnet_"


def test_all_are_there() -> None:
    assert set(LAB.architectures) == {
        *("convnet", "f1", "fixup", "lenet", "m5", "mlp", "monomial", "pyramidnet", "resnet", "sawtooth", "small_cnn"),
        *("svd_classifier", "torchvision", "toynet", "vgg"),
    }
    for entry in LAB.architectures.values():
        assert entry.input
        assert callable(entry.implementation())


def test_declaring_imports_nothing_heavy() -> None:
    code = (
        "import sys, reluscope_plugins.architectures as a; a.reluscope_architectures(); print(sys.modules.get('torch'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"


@pytest.mark.parametrize("initial", sorted({name[0] for name in models.list_models()}))
def test_every_model_is_built_without_download_or_warning(initial: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a download was tried")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    for name in models.list_models():
        if name.startswith(initial) and not name.startswith(NOT_ON_META):
            with torch.device("meta"):
                assert isinstance(TORCHVISION.build(model=name), torch.nn.Module)


@pytest.mark.parametrize("name", ["alexnet", "resnet18", "r3d_18"])
def test_normal_weights_of_all_convolutions_and_linear_layers(name: str) -> None:
    """Null: weights N(0, 2 / fan_in). Sum of squares of each of up to 21 layers, two-sided; error below 1e-6."""
    model = TORCHVISION.build(model=name, num_classes=10, init="he_normal", seed=1)
    layers = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Conv3d | torch.nn.Linear)]
    assert len(layers) > 7
    for layer in layers:
        weight = layer.weight.detach().double()
        law = scipy.stats.chi2(weight.numel())
        squares = float(weight.square().sum()) * weight[0].numel() / 2
        assert min(law.sf(squares), law.cdf(squares)) > 2e-8
        assert layer.bias is None or not layer.bias.any()
        if weight.numel() > 10_000:  # no uniform law reaches beyond 1.8 deviations
            assert float(weight.abs().max()) > 3 * (2 / weight[0].numel()) ** 0.5


def test_initial_weights_are_not_drawn_over_trained_ones() -> None:
    with pytest.raises(RecipeError, match="init = 'he_normal' draws initial weights, got weights = 'DEFAULT' as well"):
        TORCHVISION.build(model="resnet18", init="he_normal", weights="DEFAULT")
    with pytest.raises(RecipeError, match="init"):
        TORCHVISION.build(model="resnet18", init="he")


@pytest.mark.parametrize("weights", ["DEFAULT", "IMAGENET1K_V1", "VGG19_Weights.IMAGENET1K_V1"])
def test_weights_that_cannot_be_downloaded(weights: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    file = tmp_path / "hub" / "checkpoints" / "vgg19-dcbb9e9d.pth"
    with pytest.raises(
        ReluscopeError, match=r"'vgg19': the weights .* could not be downloaded .*no route to host"
    ) as said:
        TORCHVISION.build(model="vgg19", weights=weights)
    assert str(said.value).endswith(f"put the file of https://download.pytorch.org/models/{file.name} at {file}")


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "regnet_y_400mf"])
def test_same_weights_as_torchvision_gives(name: str) -> None:
    mine = TORCHVISION.build(model=name, num_classes=7, seed=3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        official = models.get_model(name, num_classes=7)
    pairs = zip(mine.state_dict().items(), official.state_dict().items(), strict=True)
    assert all(first[0] == second[0] and torch.equal(first[1], second[1]) for first, second in pairs)
    assert mine.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 7)


def test_options_go_through() -> None:
    model = TORCHVISION.build(model="mobilenet_v2", width_mult=0.25, num_classes=5)
    assert model.classifier[1].out_features == 5
    assert sum(p.numel() for p in model.parameters()) < 1_000_000


def test_weights_are_fetched_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(url: str, *_: Any, **__: Any) -> Any:
        asked.append(url)
        raise OSError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fetch)
    with pytest.raises(ReluscopeError, match="no network"):
        TORCHVISION.build(model="inception_v3", weights="DEFAULT")
    assert "inception_v3" in asked[0]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"model": "resnet81"}, "Did you mean 'resnet18'"),
        ({"model": 3}, "unknown torchvision model 3"),
        ({"model": "resnet18", "weights": "NONE_SUCH"}, "resnet18"),
        ({"model": "resnet18", "clases": 10}, "clases"),
        ({"model": "resnet18", "weights": "DEFAULT", "num_classes": 10}, "1000"),
        ({}, "parameter 'model' is missing"),
    ],
)
def test_bad_values_are_named(params: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        TORCHVISION.build(**params)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
