from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from reluscope import cli, console, hookimpl
from reluscope.entries import Architecture, Scheduler
from reluscope.errors import ArchiveError, PluginError, RecipeError, UnknownNameError
from reluscope.lab import Lab

ENVIRONMENT = {**os.environ, "PYTHONWARNINGS": "", "COLUMNS": "200"}


def outcome(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        cli.main(list(words))
    captured = capsys.readouterr()
    return int(exit_.value.code or 0), captured.out, captured.err


def process(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "reluscope", *words],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
        **options,  # type: ignore[call-overload]
    )


def tree_of_a_run(failure: str = "") -> xr.DataTree:
    accuracy = xr.DataArray(
        [[[0.5, 0.9], [0.5, 0.8]]],
        dims=("scheduler", "seed", "epoch"),
        coords={"scheduler": ["one_cycle"], "seed": [0, 1], "epoch": [0, 1]},
        attrs={"long_name": "accuracy", "units": "1"},
    )
    attrs = {"title": "A run", "sweep_dims": '["scheduler", "seed"]', "provenance": "{}"}
    groups = {"/": xr.Dataset(attrs=attrs), "/epoch": accuracy.to_dataset(name="test_accuracy")}
    if failure:
        outcome = {"diverged": ("scheduler", [True]), "reason": ("scheduler", [failure])}
        groups["/outcome"] = xr.Dataset(outcome, coords={"scheduler": ["wild"]})
    return xr.DataTree.from_dict(groups)


@pytest.fixture
def fake_modules(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """Stands for runner, recipe and archive; records the calls and does what the test puts in."""
    fake = types.SimpleNamespace(calls=[], work=lambda **_: tree_of_a_run(), changed=[], bounds=[])
    fake.opened = lambda **options: fake.bounds.append(options) or tree_of_a_run()

    def run(recipe: str, **options: object) -> xr.DataTree:
        fake.calls.append((recipe, options))
        return fake.work(**options)

    runner = types.ModuleType("reluscope.runner")
    runner.run = runner.run_from_archive = run  # type: ignore[attr-defined]
    recipe = types.ModuleType("reluscope.recipe")
    recipe.load = lambda *args, **options: None  # type: ignore[attr-defined]
    archive = types.ModuleType("reluscope.opening")
    archive.open_archive = lambda path, **options: fake.opened(**options)  # type: ignore[attr-defined]
    archive.verify_archive = lambda path, **options: fake.bounds.append(options) or fake.changed  # type: ignore[attr-defined]
    for module in (runner, recipe, archive):
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr("reluscope." + module.__name__.split(".")[1], module, raising=False)
    return fake


class TestLightness:
    @pytest.mark.parametrize("words", [["--help"], ["list"], ["list", "metrics", "--json"], ["plugins"], ["run", "-h"]])
    def test_nothing_heavy_is_imported(self, words: list[str]) -> None:
        script = (
            "import sys\nfrom reluscope.cli import main\n"
            f"try: main({words!r})\n"
            "except SystemExit as end: assert not end.code, end.code\n"
            "heavy = {'torch', 'xarray', 'numpy', 'pydantic', 'plotly'} & set(sys.modules)\n"
            "assert not heavy, heavy"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    @pytest.mark.parametrize(("words", "limit"), [(["--help"], 0.3), (["list"], 1.0)])
    def test_answers_at_once(self, words: list[str], limit: float) -> None:
        def once() -> float:
            # processor time of the child: what other work on the machine takes does not count
            begun = os.times()
            assert process(*words).returncode == 0
            ended = os.times()
            return ended.children_user - begun.children_user + ended.children_system - begun.children_system

        once()
        assert min(once() for _ in range(5)) < limit


class TestListing:
    def test_list_all_kinds(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, err = outcome(capsys, "list")
        assert (code, err) == (0, "")
        assert "one_cycle" in out
        assert "mlp" in out

    def test_list_one_kind(self, capsys: pytest.CaptureFixture[str]) -> None:
        _, plural, _ = outcome(capsys, "list", "schedulers")
        _, singular, _ = outcome(capsys, "list", "scheduler")
        assert plural == singular
        assert "one_cycle" in plural
        assert "mlp" not in plural

    def test_json_is_one_object_a_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        _, out, _ = outcome(capsys, "list", "architectures", "--json")
        rows = [json.loads(line) for line in out.splitlines()]
        assert {row["name"] for row in rows} == set(Lab().architectures)
        assert set(rows[0]) == {"kind", "name", "summary", "plugin"}

    def test_unknown_kind(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, err = outcome(capsys, "list", "mertics")
        assert (code, out) == (2, "")
        assert err == "reluscope: error: unknown kind 'mertics'. Did you mean 'metrics'?\n"

    def test_show_parameters(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, _ = outcome(capsys, "show", "mlp", "--json")
        described = json.loads(out)
        assert code == 0
        assert described["kind"] == "architecture"
        assert described["parameters"]["activation"]["default"] == "'relu'"

    def test_show_tables_as_text(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, _ = outcome(capsys, "show", "train")
        assert code == 0
        assert "step: the learning rate" in out
        assert "{" not in out

    def test_show_experiment_prints_its_recipe(self, capsys: pytest.CaptureFixture[str]) -> None:
        name, experiment = next(iter(Lab().experiments.items()))
        code, out, _ = outcome(capsys, "show", name)
        assert code == 0
        assert experiment.path.read_text(encoding="utf-8").strip() in out

    def test_show_unknown(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, _, err = outcome(capsys, "show", "one_cylce")
        assert code == 2
        assert "Did you mean 'one_cycle'?" in err

    def test_show_ambiguous_name_asks_for_the_kind(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plugin = types.ModuleType("twofold")
        architecture = Architecture(name="same", summary="A network", definition="builtins:dict", input="any")
        scheduler = Scheduler(name="same", summary="A schedule", definition=lambda optimizer, *, total_steps, gain=2: 0)
        plugin.reluscope_architectures = hookimpl(lambda: [architecture], specname="reluscope_architectures")  # type: ignore[attr-defined]
        plugin.reluscope_schedulers = hookimpl(lambda: [scheduler], specname="reluscope_schedulers")  # type: ignore[attr-defined]
        monkeypatch.setattr(cli.Session, "lab", Lab(plugins=[plugin]))
        code, _, err = outcome(capsys, "show", "same")
        assert code == 2
        assert "--kind schedulers or --kind architectures" in err
        code, out, _ = outcome(capsys, "show", "same", "--kind", "scheduler", "--json")
        assert code == 0
        assert json.loads(out)["parameters"] == {"gain": {"default": "2", "type": ""}}

    def test_broken_plugin_is_one_line_and_its_traceback_is_shown(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broken = types.ModuleType("broken_plugin")

        def reluscope_metrics() -> list[object]:
            raise ZeroDivisionError("no\nluck")

        broken.reluscope_metrics = hookimpl(reluscope_metrics)  # type: ignore[attr-defined]
        monkeypatch.setattr(cli.Session, "lab", property(lambda self: Lab(plugins=[broken])))
        code, _, err = outcome(capsys, "list", "metrics")
        assert code == 0
        assert err.count("\n") == 1
        assert err.startswith("reluscope: warning: plugin 'broken_plugin'")
        code, out, err = outcome(capsys, "plugins")
        assert (code, err) == (0, "")
        assert "ZeroDivisionError" in out
        assert "Traceback" in out


class TestRun:
    def test_default_place_summary_and_page(
        self,
        fake_modules: types.SimpleNamespace,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        code, out, err = outcome(capsys, "run", "quickstart", "--scale", "small", "--set", "a=1", "--set", "b=2")
        assert (code, err) == (0, "")
        recipe, options = fake_modules.calls[0]
        assert recipe == "quickstart"
        assert options["out"] == Path("results/quickstart.nc")
        assert (options["scale"], options["overrides"], options["resume"]) == ("small", ("a=1", "b=2"), False)
        assert "0.850 ± 0.071" in out  # of 0.9 and 0.8: mean, and standard deviation 0.0707
        assert "one_cycle" in out
        assert "results/quickstart.nc\n" in out
        assert (tmp_path / "results/quickstart.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")

    def test_json_and_no_report(
        self, fake_modules: types.SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out_file = tmp_path / "deep" / "x.nc"
        code, out, _ = outcome(capsys, "run", "mine.toml", "--out", str(out_file), "--json", "--no-report", "--resume")
        assert code == 0
        (row,) = [json.loads(line) for line in out.splitlines()]
        assert row["point"] == {"scheduler": "one_cycle"}
        assert row["values"]["test_accuracy"]["mean"] == pytest.approx(0.85)
        assert row["report"] is None
        assert not out_file.parent.exists()  # it is up to the archive to make it
        assert fake_modules.calls[0][1]["resume"] is True

    def test_failed_points_are_told(
        self, fake_modules: types.SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fake_modules.work = lambda **_: tree_of_a_run("the loss is NaN at step 3")
        code, out, err = outcome(capsys, "run", "x", "--out", str(tmp_path / "x.nc"))
        assert code == 1
        assert "0.850" in out
        assert "reluscope: warning: scheduler = wild: the loss is NaN at step 3" in err

    @pytest.mark.parametrize(
        "words",
        [
            ["run"],
            ["run", "x", "--from-archive", "y.nc"],
            ["run", "--from-archive", "missing.nc"],
            ["run", "--from-archive", "missing.nc", "--set", "a=1"],
            ["run", "x", "--nonsense"],
            ["run", "quickstart", "--out", "."],
            ["report", "missing.nc"],
            ["report", __file__, "--out", "."],
            ["verify-archive", "missing.nc"],
            ["nonsense"],
        ],
    )
    def test_wrong_words(self, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        code, out, err = outcome(capsys, *words)
        assert (code, out) == (2, "")
        assert err.startswith("reluscope: error: ")
        assert err.count("\n") == 1

    def test_bare_call_shows_the_help(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, _, err = outcome(capsys)
        assert code == 2
        assert "Usage: reluscope" in err

    def test_from_archive(
        self,
        fake_modules: types.SimpleNamespace,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "old.nc").touch()
        assert outcome(capsys, "run", "--from-archive", "old.nc", "--no-report")[0] == 0
        source, options = fake_modules.calls[0]
        assert (source, options["out"]) == ("old.nc", Path("results/old_again.nc"))
        assert outcome(capsys, "run", "--from-archive", "old.nc", "--out", "./old.nc")[0] == 2

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (UnknownNameError("unknown metric 'x'"), 2),
            (RecipeError("epochs = 'x'"), 2),
            (ArchiveError("a.nc: cut short"), 1),
            (PluginError("metric 'x' broke"), 1),
        ],
    )
    def test_errors_on_purpose_are_one_line(
        self,
        error: Exception,
        code: int,
        fake_modules: types.SimpleNamespace,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        def work(**_: object) -> xr.DataTree:
            raise error from ValueError("deep\nreason")

        fake_modules.work = work
        got, _, err = outcome(capsys, "run", "x", "--out", str(tmp_path / "x.nc"))
        assert got == code
        assert err == f"reluscope: error: {error} (caused by ValueError: deep reason)\n"
        got, _, err = outcome(capsys, "--debug", "run", "x", "--out", str(tmp_path / "x.nc"))
        assert got == code
        assert "Traceback" in err

    @pytest.mark.parametrize("error", [EOFError("cut short"), OSError(28, "No space left on device")])
    def test_unexpected_errors_are_one_line(
        self,
        error: Exception,
        fake_modules: types.SimpleNamespace,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        def work(**_: object) -> xr.DataTree:
            raise error

        fake_modules.work = work
        code, _, err = outcome(capsys, "run", "x", "--out", str(tmp_path / "x.nc"))
        assert code == 1
        assert err.count("\n") == 1
        assert f"{type(error).__name__}: {error}; --debug shows the traceback" in err

    def test_error_in_a_plugin_names_it(
        self,
        fake_modules: types.SimpleNamespace,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        plugin = types.ModuleType("someones_plugin")
        exec("def work(**_):\n    return 1 / 0", plugin.__dict__)
        fake_modules.work = plugin.work  # type: ignore[attr-defined]
        lab = Lab(plugins=[plugin])

        def loaded(session: cli.Session) -> Lab:
            session.loaded = lab
            return lab

        monkeypatch.setattr(cli.Session, "lab", property(loaded))
        code, _, err = outcome(capsys, "run", "x", "--out", str(tmp_path / "x.nc"))
        assert code == 1
        assert "[in plugin 'someones_plugin' (someones_plugin)]" in err

    def test_interrupt_says_how_to_resume(
        self, fake_modules: types.SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "a b.nc"

        def work(**_: object) -> xr.DataTree:
            Path(f"{out}.parts").mkdir()
            raise KeyboardInterrupt

        fake_modules.work = work
        code, _, err = outcome(capsys, "run", "x", "--out", str(out))
        assert code == 1
        assert err.endswith(f"go on with: reluscope run x --out '{out}' --resume\n")
        assert "Traceback" not in err

    def test_interrupt_before_anything_was_recorded(
        self, fake_modules: types.SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def work(**_: object) -> xr.DataTree:
            raise KeyboardInterrupt

        fake_modules.work = work
        code, _, err = outcome(capsys, "run", "x", "--out", str(tmp_path / "x.nc"))
        assert code == 1
        assert "nothing was recorded" in err

    def test_warnings_are_one_line(
        self, fake_modules: types.SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from reluscope.registry import PluginWarning

        def work(**_: object) -> xr.DataTree:
            warnings.warn("sink 'x' broke", PluginWarning, stacklevel=1)
            return tree_of_a_run()

        fake_modules.work = work
        code, _, err = outcome(capsys, "run", "x", "--out", str(tmp_path / "x.nc"), "--no-report")
        assert (code, err) == (0, "reluscope: warning: sink 'x' broke\n")


class TestArchives:
    def test_report_beside_the_archive(
        self, fake_modules: types.SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "x.nc.parts").mkdir()
        for name in ("x.nc", "x.nc.parts"):
            code, out, _ = outcome(capsys, "report", str(tmp_path / name))
            assert code == 0
            assert str(tmp_path / "x.html") in out
        assert "A run" in (tmp_path / "x.html").read_text(encoding="utf-8")

    def test_max_bytes_reaches_whatever_opens_an_archive(
        self, fake_modules: types.SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        archive, again = str(tmp_path / "x.nc"), str(tmp_path / "again.nc")
        Path(archive).touch()
        for words in (["report", archive], ["verify-archive", archive]):
            assert outcome(capsys, *words)[0] == 0
            assert outcome(capsys, *words, "--max-bytes", "5000000000")[0] == 0
            assert fake_modules.bounds[-2:] == [{}, {"max_bytes": 5_000_000_000}]
        words = ["run", "--from-archive", archive, "--out", again, "--no-report", "--max-bytes"]
        assert outcome(capsys, *words, "7")[0] == 0
        assert fake_modules.calls[0][1]["max_bytes"] == 7
        assert outcome(capsys, *words, "0")[0] == 2
        assert outcome(capsys, "run", "x", "--max-bytes", "7")[0] == 2

    def test_report_never_replaces_the_archive(
        self, fake_modules: types.SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        archive = tmp_path / "x.nc"
        archive.write_bytes(b"data")
        assert outcome(capsys, "report", str(archive), "--out", str(archive))[0] == 2
        assert archive.read_bytes() == b"data"

    def test_report_that_cannot_be_written_leaves_the_old_one(
        self,
        fake_modules: types.SimpleNamespace,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        (tmp_path / "x.nc").touch()
        page = tmp_path / "x.html"
        page.write_text("old")

        def no_space(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr("reluscope.durable.os.fsync", no_space)
        code, out, err = outcome(capsys, "report", str(tmp_path / "x.nc"))
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert f"cannot write the page {page}: the disk is full; the archive is safe; free some space" in err
        assert page.read_text() == "old"
        assert sorted(os.listdir(tmp_path)) == ["x.html", "x.nc"]

    def test_report_into_a_pipe(
        self, fake_modules: types.SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "x.nc").touch()
        (tmp_path / "nothing").symlink_to(os.devnull)
        assert outcome(capsys, "report", str(tmp_path / "x.nc"), "--out", str(tmp_path / "nothing"))[0] == 0
        assert (tmp_path / "nothing").is_symlink()

    def test_verify(
        self, fake_modules: types.SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        archive = tmp_path / "x.nc"
        archive.touch()
        assert outcome(capsys, "verify-archive", str(archive)) == (0, f"{archive}: intact\n", "")
        fake_modules.changed = ["epoch/loss\x1b[2J"]
        code, out, err = outcome(capsys, "verify-archive", str(archive))
        assert code == 1
        assert "epoch/loss" in out
        assert "\x1b" not in out
        assert err.count("\n") == 1
        code, out, _ = outcome(capsys, "verify-archive", str(archive), "--json")
        assert (code, json.loads(out)["intact"]) == (1, False)


def test_module_is_the_command() -> None:
    done = process("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("reluscope, version ")


def test_reader_that_leaves_early_is_no_error() -> None:
    for words in ("list", "list --json", "plugins"):
        done = subprocess.run(
            ["bash", "-c", f"'{sys.executable}' -m reluscope {words} | true; echo rc ${{PIPESTATUS[0]}}"],
            capture_output=True,
            text=True,
            check=False,
            env=ENVIRONMENT,
        )
        assert done.stdout == "rc 0\n"
        assert done.stderr == ""


def test_plain_keeps_words_and_drops_orders_to_the_terminal() -> None:
    assert console.plain("größe = 1\nβ") == "größe = 1\nβ"
    assert "\x1b" not in console.plain("a\x1b[2Jb\r\x07")
    assert np.unique([console.plain(chr(c)) for c in range(32) if chr(c) != "\n"]).tolist() == [
        "\N{REPLACEMENT CHARACTER}"
    ]
