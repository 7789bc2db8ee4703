from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

from reluscope.report import page, render

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&amp;\u2028\"'`{{ 7*7 }}"


class Elements(html.parser.HTMLParser):
    """Collects the elements of a page as a browser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.content: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements:
            self.content.append((self.elements[-1][0], data))


def figures(text: str) -> list[dict[str, Any]]:
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', text, re.S)
    assert found
    return list(json.loads(found.group(1)))


def test_page_holds_everything(make_archive: Callable[..., xr.DataTree]) -> None:
    text = render(make_archive())
    elements = Elements(text).elements
    drawn = figures(text)
    assert len(drawn) > 10
    assert [attrs["id"] for _, attrs in elements if str(attrs.get("id")).startswith("figure-")] == [
        f"figure-{place}" for place in range(len(drawn))
    ]
    for words in ("Three schedules on handwritten digits", "mlp", "Their own metric", "0.9", "packages.torch"):
        assert words in text
    assert 'name = "step_decay"' in page._toml(json.loads(make_archive().attrs["provenance"])["recipe"])
    assert "This run is incomplete" not in text


def test_page_reaches_for_nothing(make_archive: Callable[..., xr.DataTree]) -> None:
    text = render(make_archive())
    parsed = Elements(text)
    for tag, attrs in parsed.elements:
        assert tag not in ("iframe", "object", "embed", "form", "base", "img")
        assert not any(str(name).startswith("on") for name in attrs)
        for name in ("src", "href", "action"):
            assert str(attrs.get(name) or "#").startswith(("#", "data:"))
    policy = next(attrs["content"] for _, attrs in parsed.elements if attrs.get("http-equiv"))
    assert policy
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "unsafe-eval" not in policy


def test_policy_names_the_scripts_by_hash(make_archive: Callable[..., xr.DataTree]) -> None:
    text = render(make_archive())
    scripts = re.findall(r"<script>(.*?)</script>", text, re.S)
    assert len(scripts) == 2
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"sha256-{digest}" in text.replace("&#43;", "+")


def test_hostile_text_stays_text(make_archive: Callable[..., xr.DataTree]) -> None:
    tree = make_archive(schedulers=(HOSTILE, "b"))
    tree.attrs["title"] = tree.attrs["source"] = tree.attrs["history"] = HOSTILE
    outcome = {"diverged": ("scheduler", [True]), "reason": ("scheduler", [HOSTILE])}
    tree["outcome"] = xr.DataTree(xr.Dataset(outcome, coords={"scheduler": [HOSTILE]}))
    data = tree["epoch"].to_dataset()
    data["affine_rank"].attrs |= {"long_name": HOSTILE, "units": HOSTILE, "description": HOSTILE}
    data = data.assign_coords(site=[HOSTILE, "x"], unit_site=("unit", np.where(data.unit < 64, HOSTILE, "x")))
    name = HOSTILE.replace("/", "")  # which xarray forbids in names
    data = data.rename({"their_own_metric": name}).assign({f"{name}2": xr.DataArray(["text"], dims=f"{name}3")})
    told = json.loads(tree.attrs["provenance"])
    told |= {HOSTILE: {HOSTILE: [HOSTILE]}}
    told["recipe"] |= {"architecture": {"name": HOSTILE, HOSTILE: HOSTILE}, "metrics": [{"name": HOSTILE}]}
    tree.attrs["provenance"] = json.dumps(told)
    tree["epoch"] = xr.DataTree(data)
    text = render(tree)
    plain = Elements(render(make_archive(schedulers=("a", "b"))))
    parsed = Elements(text)
    assert [tag for tag, _ in parsed.elements].count("script") == 3 == [t for t, _ in plain.elements].count("script")
    assert {tag for tag, _ in parsed.elements} <= {tag for tag, _ in plain.elements} | {"div", "p", "strong", "section"}
    assert "alert(1)</script>" not in text
    assert "<img" not in re.sub(r"<script>.*?</script>", "", text, flags=re.S)
    assert any(line["name"] == HOSTILE for figure in figures(text) for line in figure.get("series", []))
    assert "{{ 7*7 }}" in text


@pytest.mark.parametrize(
    "provenance",
    [
        "",
        "[]",
        "null",
        '{"recipe": 3}',
        '{"recipe": {"sweep": [], "metrics": {}, "expected": [1, {"value": "x"}]}}',
        '{"recipe": {"architecture": 3, "a": [null, {"b": null}], "expected": [{"value": 1, "select": 4}]}}',
    ],
)
def test_a_strangers_provenance(provenance: str, make_archive: Callable[..., xr.DataTree]) -> None:
    tree = make_archive(epochs=2)
    tree.attrs["provenance"] = provenance
    assert figures(render(tree))


def test_incomplete_run(make_archive: Callable[..., xr.DataTree]) -> None:
    tree = make_archive()
    for variable in tree["epoch"].data_vars.values():
        variable.values[1:, :, 3:] = np.nan
    assert "This run is incomplete." in render(tree)


@pytest.mark.parametrize("tree", [xr.DataTree(), xr.DataTree.from_dict({"/epoch": xr.Dataset({"x": ("epoch", [])})})])
def test_nothing_recorded(tree: xr.DataTree) -> None:
    assert figures(render(tree)) == []


def test_data_set_of_ones_own_loop() -> None:
    data = xr.Dataset(
        {"firing_rate": (("step", "unit"), np.zeros((3, 4)), {"long_name": "firing rate", "units": "1"})},
        coords={"step": [0, 10, 20], "epoch": ("step", [0, 0, 1]), "unit_site": ("unit", list("aabb"))},
    )
    assert [figure["title"] for figure in figures(render(xr.DataTree(data)))] == ["a", "b", ""]


def test_expected_beside_measured(make_archive: Callable[..., xr.DataTree]) -> None:
    tree = make_archive()
    told = json.loads(tree.attrs["provenance"])
    told["recipe"]["expected"] = [
        {"variable": "test_accuracy", "select": {"scheduler": "cyclic"}, "value": 0.5, "tolerance": 0.01},
        {"variable": "nowhere", "value": 0.5},
    ]
    rows = page._expected(tree, told["recipe"], page.summarise(tree))
    measured = float(tree["epoch"]["test_accuracy"].values[2, :, -1].mean())
    assert rows[0]["measured"] == f"{measured:.4g}"
    assert rows[0]["difference"] == f"{measured - 0.5:+.3g}"
    assert rows[0]["verdict"] == "off by more than 0.01"
    assert rows[1]["measured"] == "not measured"


def test_large_archive_stays_below_15_megabytes() -> None:
    sites, epochs = 130, 300
    random = np.random.default_rng(0)
    dims = ("scheduler", "seed", "epoch")
    variables = {
        f"metric_{i}": ((*dims, "site"), random.random((10, 1, epochs, sites)), {"long_name": "m", "units": "1"})
        for i in range(8)
    }
    data = xr.Dataset(variables, coords={"scheduler": [f"s{i}" for i in range(10)]})
    tree = xr.DataTree.from_dict({"/epoch": data})
    tree.attrs["sweep_dims"] = '["scheduler"]'
    text = render(tree)
    assert len(text.encode()) < 15_000_000
    assert "would make the page too large" in text
