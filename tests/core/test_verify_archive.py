"""Verdicts in an archive: there as soon as they are reached, gone on with after a kill or a full disk, and drawn."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

import reluscope as rs
from reluscope import cli, hookimpl
from reluscope.entries import Claim
from reluscope.errors import ArchiveError, RecipeError
from reluscope.verdicts import labelled, record
from reluscope.verification import judge

SQUARE = "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"


def near_one(generator: Any, size: int, n: int) -> Any:
    return generator.uniform(0.98, 1.02, size)


def claim(name: str, **fields: Any) -> Claim:
    words = {"summary": "A claim", "statement": f"{name} & <more>", "source": "A 2025", "assumption": "-"}
    cases = {"strategy": lambda: st.fixed_dictionaries({"n": st.integers(0, 1000)}), "predicate": lambda n: n < 7}
    return Claim(name=name, **(words | cases | fields))


def lab(*claims: Claim) -> rs.Lab:
    module = types.ModuleType("claims_of_a_test")

    def reluscope_claims() -> list[Claim]:
        return list(claims)

    module.reluscope_claims = hookimpl(reluscope_claims)  # type: ignore[attr-defined]
    return rs.Lab(plugins=[module])


CLAIMS = lab(
    claim("false_and_known", verdict="refuted", picture=lambda n: SQUARE),
    claim("mean_and_known", predicate=None, sample=near_one, value=1.0, bounds=(0.0, 2.0)),
    claim("true_and_known", predicate=lambda n: n >= 0, amends="false_and_known"),
    claim("false_and_new"),
)
KNOWN = ("false_and_known", "mean_and_known", "true_and_known")
ALL = (*KNOWN, "false_and_new")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "verdicts.nc"


def kept_in(out: Path) -> list[str]:
    names: list[str] = rs.open_archive(out)["claims"].to_dataset()["claim"].values.tolist()
    return names


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(cli.Session, "lab", property(lambda session: CLAIMS))
    with pytest.raises(SystemExit) as exit_:
        cli.main(["verify", *words])
    return int(exit_.value.code or 0)


def test_archive_and_page(out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(monkeypatch, "--out", str(out)) == 1  # of the new one
    assert str(out) in capsys.readouterr().out
    page = out.with_suffix(".html").read_text(encoding="utf-8")
    assert "<h2>Claims</h2>" in page
    assert "false_and_known &amp; &lt;more&gt;" in page
    assert "{&#34;n&#34;: 7}" in page
    assert '<img src="data:image/svg+xml;base64,' in page
    assert "alert(1)" not in page
    assert "Where it ended" not in page
    assert "two-sided, sequential" in page
    assert page.count("recorded as holds") == 1
    assert command(monkeypatch, *KNOWN, "--out", str(out)) == 2
    assert "exists" in capsys.readouterr().err


def test_what_is_printed_is_in_the_archive(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, *KNOWN, "--json", "--seed", "3", "--out", str(out)) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["seed"] for row in rows] == [3, 3, 3]
    assert [row["error_probability"] for row in rows] == [None, 1e-6, None]
    tree = rs.open_archive(out, verify=True)
    group = tree["claims"].to_dataset()
    assert [record(group.sel(claim=name)) for name in KNOWN] == rows
    assert group.case_seed.values.tolist() == [3, 3, 3]
    assert json.loads(tree.attrs["provenance"])["seeds"] == [3]


def test_a_label_gives_the_record_back() -> None:
    for found in (judge(one) for one in CLAIMS.claims.values()):
        assert record(labelled(found)) == found.record()


def stop(n: int) -> bool:
    raise KeyboardInterrupt


def test_a_run_that_was_stopped_goes_on(out: Path) -> None:
    stopping = lab(*(CLAIMS.claims[name] for name in KNOWN[:2]), claim("true_and_known", predicate=stop))
    with pytest.raises(KeyboardInterrupt):
        rs.verify(KNOWN, lab=stopping, out=out, examples=30)
    assert kept_in(out) == list(KNOWN[:2])
    with pytest.raises(ArchiveError, match="was not finished; go on with it by --resume"):
        rs.verify(ALL, lab=CLAIMS, out=out, examples=30)
    with pytest.raises(RecipeError, match="begun with 30 examples and seed 0, got 31 and 0"):
        rs.verify(ALL, lab=CLAIMS, out=out, examples=31, resume=True)
    with pytest.raises(RecipeError, match="begun with 30 examples and seed 0, got 30 and 1"):
        rs.verify(ALL, lab=CLAIMS, out=out, examples=30, seed=1, resume=True)
    found = rs.verify(ALL, lab=CLAIMS, out=out, examples=30, resume=True)
    fresh = rs.verify(ALL, lab=CLAIMS, examples=30)
    assert found.drop_vars("seconds").equals(fresh.drop_vars("seconds"))
    assert rs.open_archive(out, verify=True)["claims"].to_dataset().sel(claim=found.claim).equals(found)


def test_a_finished_archive_is_read(out: Path) -> None:
    first = rs.verify(KNOWN, lab=CLAIMS, out=out, examples=30)
    assert rs.verify(KNOWN, lab=CLAIMS, out=out, examples=30, resume=True).equals(first)
    with pytest.raises(RecipeError, match="finished, without a verdict on 'false_and_new'"):
        rs.verify(lab=CLAIMS, out=out, examples=30, resume=True)


KILLED = """
import os, signal, sys, types
from hypothesis import strategies as st
import reluscope as rs
from reluscope import cli, hookimpl
from reluscope.entries import Claim

def kill(n):
    if sys.argv[2] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    return True

def claims():
    cases = lambda: st.fixed_dictionaries({"n": st.integers(0, 1000)})
    for name, predicate in (("first", lambda n: n >= 0), ("second", lambda n: True), ("third", kill)):
        yield Claim(name=name, summary="-", statement="-", source="-", assumption="-", strategy=cases,
                    predicate=predicate)

module = types.ModuleType("claims_of_a_test")
def reluscope_claims():
    return list(claims())
module.reluscope_claims = hookimpl(reluscope_claims)
cli.Session.lab = property(lambda session: rs.Lab(plugins=[module]))
cli.main(["verify", "--json", "--out", sys.argv[1], *sys.argv[3:]])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills by a signal")
def test_a_kill_loses_the_last_one_at_most(out: Path) -> None:
    def process(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", KILLED, str(out), *words], capture_output=True, text=True)

    done = process("kill")
    assert done.returncode == -9
    assert [json.loads(line)["claim"] for line in done.stdout.splitlines()] == ["first", "second"]
    assert kept_in(out) == ["first", "second"]
    again = process("live", "--resume")
    assert again.returncode == 0, again.stderr
    assert [json.loads(line)["claim"] for line in again.stdout.splitlines()] == ["first", "second", "third"]
    assert json.loads(again.stdout.splitlines()[0]) == json.loads(done.stdout.splitlines()[0])


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to tell which file is written")
@pytest.mark.parametrize(("name", "printed"), [("part-000001", 2), ("archive.nc", 3)])
@pytest.mark.parametrize("form", ["json", "table"])
def test_a_full_disk_loses_nothing_of_what_was_printed(
    name: str, printed: int, form: str, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if name in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    words = [*KNOWN, "--out", str(out), "--examples", "30", *(["--json"] if form == "json" else [])]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        assert command(patch, *words) == 1
    captured = capsys.readouterr()
    assert "the disk is full" in captured.err
    assert "--resume" in captured.err
    assert "Traceback" not in captured.err
    assert [word for word in KNOWN if word in captured.out] == list(KNOWN[:printed])
    kept = {"part-000001": 1, "archive.nc": 3}[name]
    assert kept_in(out) == list(KNOWN[:kept])
    assert command(monkeypatch, *words, "--resume") == 0
    printed_again = capsys.readouterr().out
    assert [word for word in KNOWN if word in printed_again] == list(KNOWN)


def test_resume_needs_an_archive(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(monkeypatch, "--resume") == 2
    assert "name it with --out" in capsys.readouterr().err
