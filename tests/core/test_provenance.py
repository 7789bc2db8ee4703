from __future__ import annotations

import getpass
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from reluscope import provenance
from reluscope.registry import Plugin


def test_it_says_what_is_needed_to_run_again() -> None:
    plugins = [Plugin("b", "pkg.b", "dist-b", "2.1"), Plugin("a", "pkg.a", "dist-a", "1.0")]
    found = provenance.collect(recipe={"title": "é", "epochs": 3}, seeds=[0, 1], plugins=plugins)
    assert found["recipe"] == {"title": "é", "epochs": 3}
    assert found["seeds"] == [0, 1]
    assert found["versions"]["torch"] == torch.__version__.split("+")[0] or found["versions"]["torch"]
    assert set(found["versions"]) == {"python", *provenance.PACKAGES}
    assert [plugin["name"] for plugin in found["plugins"]] == ["a", "b"]
    assert found["plugins"][1]["version"] == "2.1"
    assert found["threads"] == torch.get_num_threads()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["start"])
    assert json.loads(json.dumps(found)) == found


def test_it_tells_nothing_about_the_person() -> None:
    import socket

    text = json.dumps(provenance.collect())
    assert str(Path.home()) not in text or str(Path.home()) == "/"
    assert str(Path(provenance.__file__).parent) not in text
    for name in (socket.gethostname(), getpass.getuser()):
        assert not re.search(rf"\b{re.escape(name)}\b", text)


def _git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    package = tmp_path / "core" / "reluscope"
    package.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("")
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "add", "-A")
    _git(tmp_path, "commit", "-qm", "first")
    return package


def test_git_commit_and_dirty_flag(checkout: Path) -> None:
    commit = _git(checkout, "rev-parse", "HEAD")
    assert provenance.git(checkout) == {"commit": commit, "dirty": False}
    (checkout.parent.parent / "pyproject.toml").write_text("changed")
    assert provenance.git(checkout) == {"commit": commit, "dirty": True}


def test_a_repository_cannot_start_programs(checkout: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\n")
    trap.chmod(0o755)
    _git(checkout, "config", "core.fsmonitor", str(trap))
    assert provenance.git(checkout) is not None
    assert not (tmp_path / "sprung").exists()


def test_no_checkout_no_git(tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lone = tmp_path / "venv" / "site-packages" / "reluscope"
    lone.mkdir(parents=True)
    assert provenance.git(lone) is None  # inside somebody else's repository
    monkeypatch.setenv("PATH", "")
    assert provenance.git(checkout) is None


def test_unknown_distribution() -> None:
    assert provenance.version("no-such-distribution-of-reluscope") is None
    assert provenance.collect(packages=["no-such-distribution-of-reluscope"])["versions"] == {
        "python": sys.version.split()[0],
        "no-such-distribution-of-reluscope": None,
    }
