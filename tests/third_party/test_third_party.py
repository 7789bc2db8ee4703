"""A distribution by a third party: made by the tutorial, installed, listed, checked by the kit, run by a recipe."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = Path(__file__).parent / "reluscope-example"
TUTORIAL = ROOT / "docs" / "tutorial.md"
FILE = re.compile(r"^```\{code-block\} \w+\n:caption: (?P<path>\S+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
VERSION = "0.3.1"


def snippets() -> dict[str, str]:
    return {match["path"]: match["text"] for match in FILE.finditer(TUTORIAL.read_text(encoding="utf-8"))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tutorial's folder, filled from an empty one."""
    folder = tmp_path_factory.mktemp("tutorial") / "reluscope-example"
    for path, text in snippets().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def environment(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the distribution is installed beside all that this one has."""
    site = tmp_path_factory.mktemp("site")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", str(site), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
    return {**kept, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}


def reluscope(environment: dict[str, str], folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "reluscope", *words],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_repository_holds_what_the_tutorial_makes() -> None:
    made = {
        path.relative_to(EXAMPLE).as_posix(): path.read_text(encoding="utf-8")
        for path in EXAMPLE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert made == snippets()


def test_the_tutorial_lists_its_files() -> None:
    text = TUTORIAL.read_text(encoding="utf-8")
    listed = re.search(r"^```text\nreluscope-example/\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert listed is not None
    assert sorted(listed[1].split()) == sorted(snippets())


def test_it_is_listed_with_its_version(environment: dict[str, str], folder: Path) -> None:
    lines = reluscope(environment, folder, "list", "metrics", "--json").splitlines()
    found = {row["name"]: row for row in map(json.loads, lines)}
    assert found["kink_distance"]["plugin"] == "example"
    assert found["kink_distance"]["summary"] == "Mean distance of a site's pre-activations from the kink at zero."
    assert "firing_rate" in found
    plugins = {
        row["name"]: row
        for row in map(json.loads, reluscope(environment, folder, "plugins", "--json").split("\n")[:-1])
    }
    assert plugins["example"]["version"] == VERSION
    assert plugins["example"]["distribution"] == "reluscope-example"
    assert not plugins["example"]["traceback"]


def test_listing_it_imports_no_torch(environment: dict[str, str], folder: Path) -> None:
    code = "import sys, reluscope as rs; assert 'kink_distance' in rs.Lab().metrics; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=folder, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_the_kit_checks_it(environment: dict[str, str], folder: Path) -> None:
    """Its own tests pass with reluscope's pytest plugin, under fatal warnings."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-W",
            "error",
            "-p",
            "no:cacheprovider",
            "-q",
            "--rootdir",
            str(folder),
            "tests",
        ],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


def test_its_claim_is_verified(environment: dict[str, str], folder: Path) -> None:
    (row,) = map(json.loads, reluscope(environment, folder, "verify", "kink_reach", "--json").splitlines())
    assert (row["verdict"], row["counterexample"]) == ("holds", None)
    assert row["cases"] > 100
    broken = '{"preactivation": 1, "change": -2}'
    done = subprocess.run(
        [sys.executable, "-m", "reluscope", "verify", "kink_reach", "--replay", broken, "--json"],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, json.loads(done.stdout)["verdict"]) == (1, "refuted")  # outside its assumption


def test_a_recipe_runs_it_and_the_provenance_names_its_version(
    environment: dict[str, str], folder: Path, tmp_path: Path
) -> None:
    from reluscope.opening import open_archive

    out = tmp_path / "kink.nc"
    reluscope(environment, folder, "run", "recipe.toml", "--out", str(out), "--no-report")
    tree = open_archive(out)
    assert tree["epoch"]["kink_distance"].dims == ("epoch", "site")
    assert float(tree["epoch"]["kink_distance"].min()) > 0.0
    provenance = json.loads(tree.attrs["provenance"])
    (plugin,) = (plugin for plugin in provenance["plugins"] if plugin["name"] == "example")
    assert (plugin["distribution"], plugin["version"]) == ("reluscope-example", VERSION)
