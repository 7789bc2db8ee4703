"""Every hook has a section in the documentation with a minimal plugin, and that plugin works."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

import reluscope as rs
from reluscope import hookspecs
from reluscope.entries import KINDS
from reluscope.testing import check_claim, check_number_system

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "hooks.md"
HOOKS = sorted(name for name, value in vars(hookspecs).items() if hasattr(value, "reluscope_spec"))


@pytest.fixture
def plugin(run_page) -> ModuleType:
    """The plugin that the page writes."""
    return run_page(PAGE)


@pytest.fixture
def page_lab(plugin: ModuleType) -> rs.Lab:
    return rs.Lab(plugins=[plugin])


def test_there_is_a_hook_for_each_kind_and_one_for_records() -> None:
    assert HOOKS == sorted([*(f"reluscope_{kind}" for kind in KINDS), "reluscope_record"])


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_is_documented(hook: str) -> None:
    text = PAGE.read_text(encoding="utf-8")
    section = re.search(rf"^## `{hook}`\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section, f"docs/hooks.md has no section on {hook}"
    assert re.search(rf"^```python\n.*?^@rs\.hookimpl\ndef {hook}\(", section[1], re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_is_tested(hook: str) -> None:
    assert callable(getattr(sys.modules[__name__], f"test_{hook}", None)), f"write test_{hook} here"


def only(lab: rs.Lab, kind: str):
    (entry,) = lab.shelf(kind).values()
    return entry


@pytest.fixture
def model() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))


def test_reluscope_metrics(page_lab: rs.Lab, model: nn.Module) -> None:
    metric = only(page_lab, "metrics")
    x = torch.randn(7, 3)
    result = rs.measure(model, [x], metrics=[metric])[metric.name]
    torch.testing.assert_close(torch.as_tensor(result.values[0]), model[0](x).abs().double().mean(), rtol=1e-6, atol=0)


def test_reluscope_schedulers(page_lab: rs.Lab) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = only(page_lab, "schedulers").build(optimizer, total_steps=10)
    for expected in (1.0, 0.9, 0.8):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected)
        optimizer.step()
        scheduler.step()


def test_reluscope_number_systems(page_lab: rs.Lab) -> None:
    system = only(page_lab, "number_systems").build()
    weight = torch.tensor([0.3, -1.1])
    encoded = system.encode(weight)
    assert torch.equal(system.decode(encoded), torch.tensor([0.25, -1.0]))
    assert torch.equal(system.mean(encoded), system.decode(encoded))
    assert torch.equal(system.variance(encoded, 4), torch.zeros(2))
    assert torch.equal(system.draw(encoded, 4, torch.Generator()), system.decode(encoded))
    check_number_system(system)


def test_reluscope_architectures(page_lab: rs.Lab) -> None:
    assert only(page_lab, "architectures").build(seed=1)(torch.randn(6, 2)).shape == (6, 2)


def test_reluscope_datasets(page_lab: rs.Lab) -> None:
    dataset = only(page_lab, "datasets")
    x, y = dataset.load("train")[0]
    assert x.shape == dataset.shape
    assert int(y) in (0, 1)
    assert not torch.equal(x, dataset.load("test")[0][0])


def test_reluscope_regularizers(page_lab: rs.Lab, model: nn.Module) -> None:
    penalty = only(page_lab, "regularizers").build(strength=2.0)
    x = torch.randn(4, 3)
    value = penalty(model, x, model(x))
    assert value.ndim == 0
    assert value.requires_grad


RECIPE = {"title": "Norms of random networks", "procedure": "weight_norm", "draws": 3}


def test_reluscope_procedures(page_lab: rs.Lab) -> None:
    tree = rs.run(RECIPE, lab=page_lab)
    assert tree["norm"]["weight_norm"].sizes == {"step": 3}


def test_reluscope_record(plugin: ModuleType, page_lab: rs.Lab) -> None:
    rs.run(RECIPE, lab=page_lab)
    assert plugin.heard.count("norm") == 3


def test_reluscope_experiments(page_lab: rs.Lab) -> None:
    experiment = only(page_lab, "experiments")
    assert experiment.name == "small_norms"
    assert experiment.path.is_file()


def test_reluscope_claims(page_lab: rs.Lab) -> None:
    claim = only(page_lab, "claims")
    assert claim.implementation()(-2.0)
    check_claim(claim)
