"""The page in a real browser: `make page-test`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from reluscope.report import render

pytestmark = pytest.mark.page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def opened(text: str, folder: Path, *more: str) -> tuple[str, str]:
    """Loads a page without network; returns the DOM after drawing, and what the console said."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        pytest.fail(f"expected one of {', '.join(BROWSERS)} on the PATH; install one to check the page")
    page = folder / "page.html"
    page.write_text(text, encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    options += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    options += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'profile'}"]
    options += ["--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom"]
    done = subprocess.run(
        [browser, *options, *more, page.as_uri()], capture_output=True, text=True, timeout=180, check=True
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, "\n".join(console)


@pytest.mark.parametrize("size", ["1280,2400", "390,844"])
def test_all_plots_are_drawn_and_the_console_is_silent(
    size: str, make_archive: Callable[..., xr.DataTree], tmp_path: Path
) -> None:
    text = render(make_archive())
    wanted = len(re.findall(r'id="figure-\d+"', text))
    dom, console = opened(text, tmp_path, f"--window-size={size}")
    body = dom.rpartition("<footer>")[0]
    assert console == ""
    assert re.search(rf'<html[^>]* data-drawn="{wanted}"', dom)
    for place in range(wanted):
        part = body.partition(f'id="figure-{place}"')[2].partition('id="figure-')[0]
        assert 'class="main-svg"' in part, place
        assert "js-line" in part or 'class="hm"' in part or "<image" in part or 'class="point"' in part, place


def test_a_picture_of_a_counterexample_is_shown_and_runs_nothing(tmp_path: Path) -> None:
    script = "<script>document.documentElement.dataset.owned='yes'</script>"
    svg = f"<svg xmlns='http://www.w3.org/2000/svg' width='30' height='20' onload='parent.owned=1'>{script}</svg>"
    words = {"verdict": "refuted", "recorded": "refuted", "counterexample": '{"n": 1}', "picture": svg}
    data = {key: ("claim", [text]) for key, text in words.items()} | {"cases": ("claim", [3])}
    tree = xr.DataTree.from_dict({"/claims": xr.Dataset(data, coords={"claim": ["a_claim"]})})
    dom, console = opened(render(tree), tmp_path)
    assert console == ""
    assert "data-owned" not in dom
    assert '<img src="data:image/svg+xml;base64,' in dom


def test_hostile_text_runs_nothing(make_archive: Callable[..., xr.DataTree], tmp_path: Path) -> None:
    script = "</script><script>document.documentElement.dataset.owned='yes'</script>"
    image = "<img src=x onerror=\"document.documentElement.dataset.owned='yes'\">"
    tree = make_archive(schedulers=(script, image, "<b>bold</b><a href='javascript:alert(1)'>a</a>"))
    tree.attrs["title"] = script + image
    data = tree["epoch"].to_dataset()
    data["affine_rank"].attrs |= {"long_name": image, "units": image}
    tree["epoch"] = xr.DataTree(data.assign_coords(site=[image, script]))
    dom, console = opened(render(tree), tmp_path)
    assert "data-drawn=" in dom
    assert "data-owned" not in re.sub(r"<script.*?</script>", "", dom, flags=re.S)
    assert console == ""
    assert not re.search(r"<(img|a)\b[^>]*(onerror|javascript:)", dom)


def test_policy_stops_a_script_that_came_in_after_all(make_archive: Callable[..., xr.DataTree], tmp_path: Path) -> None:
    foreign = "<script>document.documentElement.dataset.owned='yes'</script><img src='https://example.org/x.png'>"
    dom, console = opened(render(make_archive()).replace("<main>", f"<main>{foreign}"), tmp_path)
    assert "data-drawn=" in dom
    assert not re.search(r"<html[^>]*data-owned", dom)
    assert "Content Security Policy" in console


def test_declared_figures_are_drawn(make_archive: Callable[..., xr.DataTree], tmp_path: Path) -> None:
    tree = make_archive()
    grid = {"x": np.linspace(-5, 5, 30), "y": np.linspace(-5, 5, 30)}
    label = {"long_name": "colour", "units": "1"}
    colours = np.random.default_rng(0).integers(0, 0x1000000, (2, 30, 30))
    plane = xr.Dataset(
        {
            "cell_colour": (("site", "y", "x"), colours, label),
            "point_x": ("point", [0.0, 1.0], label),
            "point_y": ("point", [0.0, 2.0], label),
        },
        coords={"site": ["a", "b"], **grid},
    )
    tree["plane"] = xr.DataTree(plane)
    common = {"title": "<i>t</i>", "variable": "their_own_metric"}
    shown = [
        {**common, "kind": "line", "x": "epoch", "colour": "scheduler", "panel": "site", "log_y": True},
        {**common, "kind": "box", "x": "site", "colour": "epoch", "panel": "scheduler"},
        {**common, "kind": "heatmap", "x": "epoch", "y": "site", "panel": "scheduler", "maximum": 0.4},
        {**common, "kind": "picture", "variable": "cell_colour", "group": "plane", "panel": "site"},
        {**common, "kind": "line", "x": "nowhere"},
    ]
    told = json.loads(tree.attrs["provenance"])
    told["recipe"]["figures"] = shown
    tree.attrs["provenance"] = json.dumps(told)
    dom, console = opened(render(tree), tmp_path, "--window-size=1280,2400")
    body = dom.rpartition("<footer>")[0]
    assert console == ""
    assert re.search(r"<html[^>]* data-drawn=", dom)
    marks = ["js-line"] * 2 + ['class="box"'] * 3 + ['class="hm"'] * 3 + ["data:image/png;base64,"] * 2
    for place, mark in enumerate(marks):
        part = body.partition(f'id="figure-{place}"')[2].partition('id="figure-')[0]
        assert mark in part, place
    assert part.count('class="point"') == 2
    assert not re.search(r'data-shade="\d+"[^>]*style=""', body)
    assert "Not drawn." in body


def test_a_line_is_drawn_over_a_heatmap(make_archive: Callable[..., xr.DataTree], tmp_path: Path) -> None:
    tree = make_archive()
    data = tree["epoch"].to_dataset()
    rates = xr.DataArray(np.geomspace(0.01, 10, 7), dims="learning_rate")
    share = (data["train_accuracy"] * rates / (1 + rates)).assign_attrs(long_name="share", units="1")
    tree["epoch"] = xr.DataTree(data.assign(share=share).assign_coords(learning_rate=rates))
    figure = {
        "title": "Share",
        "kind": "heatmap",
        "variable": "share",
        "x": "epoch",
        "y": "learning_rate",
        "panel": "scheduler",
        "over": "train_accuracy",
        "log_y": True,
    }
    told = json.loads(tree.attrs["provenance"])
    told["recipe"]["figures"] = [figure]
    tree.attrs["provenance"] = json.dumps(told)
    dom, console = opened(render(tree), tmp_path, "--window-size=1280,2400")
    assert console == ""
    part = dom.rpartition("<footer>")[0].partition('id="figure-0"')[2].partition('id="figure-1"')[0]
    assert 'class="hm"' in part
    assert re.search(r'class="js-line"[^>]*stroke: rgb\(255, 255, 255\)', part)
