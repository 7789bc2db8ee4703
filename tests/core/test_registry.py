"""Plugins: clashes, broken ones, misspelt hooks, wrong returns, all by name."""

from __future__ import annotations

import importlib.metadata
import types
import warnings

import pytest

from reluscope import Lab, hookimpl, metric
from reluscope.entries import KINDS, Architecture
from reluscope.errors import PluginError, UnknownNameError
from reluscope.registry import PluginWarning


def plugin(name: str, **hooks: object) -> types.ModuleType:
    """Make a plugin module whose hooks return what is given, or call it."""
    module = types.ModuleType(name)
    for hook, returned in hooks.items():
        function = returned if callable(returned) else (lambda value: lambda: value)(returned)
        setattr(module, hook, hookimpl(function))
    return module


@metric()
def one(observation):
    """One."""
    return 1.0


NET = Architecture(name="net", summary="A net.", definition="torch.nn:Linear", input="(sample, feature)")


def test_entries_are_found_under_their_kind():
    lab = Lab([plugin("a", reluscope_metrics=[one], reluscope_architectures=[NET])])
    assert lab.metrics["one"] is one
    assert list(lab.architectures) == ["net"]
    assert lab.origin("metrics", "one").name == "a"
    assert [len(lab.shelf(kind)) for kind in KINDS] == [1, 0, 0, 1, 0, 0, 0, 0, 0]


def test_shelves_are_read_only():
    lab = Lab([plugin("a", reluscope_metrics=[one])])
    with pytest.raises(TypeError):
        lab.metrics["two"] = one


def test_one_name_from_two_plugins_names_both():
    with pytest.raises(PluginError, match=r"metric 'one': 'a' \(a\) and 'b' \(b\)"):
        Lab([plugin("a", reluscope_metrics=[one]), plugin("b", reluscope_metrics=[one])])


def test_two_plugins_of_one_name_names_both():
    with pytest.raises(PluginError, match="two plugins are called 'a'"):
        Lab([plugin("a"), plugin("a")])


@pytest.mark.parametrize(
    ("hooks", "reason"),
    [
        ({"reluscope_metrcs": []}, "reluscope_metrcs"),
        ({"reluscope_metrics": [NET]}, "Architecture"),
        ({"reluscope_metrics": None}, "NoneType"),
        ({"reluscope_metrics": "one"}, "str"),
        ({"reluscope_metrics": lambda: 1 / 0}, "ZeroDivisionError"),
        ({"reluscope_metrics": lambda surplus: []}, "surplus"),
    ],
    ids=["misspelt", "other kind", "none", "text", "raises", "surplus argument"],
)
def test_a_broken_plugin_is_left_out_by_name_and_the_rest_works(hooks, reason):
    with pytest.warns(PluginWarning, match=f"(?s)plugin 'broken'.*{reason}"):
        lab = Lab([plugin("broken", **hooks), plugin("good", reluscope_metrics=[one])])
    assert list(lab.metrics) == ["one"]
    assert {p.name: bool(p.traceback) for p in lab.plugins} == {"broken": True, "good": False}


def test_a_misspelt_hook_suggests_the_nearest():
    with pytest.warns(PluginWarning, match="reluscope_metrics"):
        Lab([plugin("broken", reluscope_metrcs=[])])


def test_a_plugin_that_raises_at_import_is_left_out(monkeypatch, tmp_path):
    (tmp_path / "raises_at_import.py").write_text("raise RuntimeError('no luck')")
    monkeypatch.syspath_prepend(tmp_path)
    point = importlib.metadata.EntryPoint("bad", "raises_at_import", "reluscope")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point])
    with pytest.warns(PluginWarning, match="plugin 'bad' .*RuntimeError: no luck"):
        lab = Lab()
    assert "no luck" in lab.plugins[0].traceback


def test_two_entry_points_of_one_name_are_a_clash(monkeypatch):
    points = [importlib.metadata.EntryPoint("same", module, "reluscope") for module in ("one_module", "other_module")]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)
    with pytest.raises(PluginError, match=r"one_module.*other_module"):
        Lab()


def test_unknown_names_suggest_the_nearest():
    lab = Lab([plugin("a", reluscope_metrics=[one])])
    with pytest.raises(UnknownNameError, match="Did you mean 'one'"):
        lab.metrics["onee"]
    with pytest.raises(UnknownNameError, match="Did you mean 'metrics'"):
        lab.shelf("metric")
    with pytest.raises(UnknownNameError, match="Nothing of this kind"):
        lab.claims["x"]


def test_the_built_in_plugins_come_through_entry_points_and_none_is_broken():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lab = Lab()
    built_in = {p.name for p in lab.plugins if p.distribution == "reluscope"}
    assert {"patterns", "geometry", "performance", "schedulers", "architectures", "datasets", "procedures"} <= built_in
    assert {"firing_rate", "dead_units", "affine_rank", "loss", "accuracy"} <= set(lab.metrics)
    assert "quickstart" in lab.experiments
