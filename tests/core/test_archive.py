from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from reluscope import bounds, durable, provenance
from reluscope.archive import ArchiveWriter
from reluscope.errors import ArchiveError, ReproducibilityWarning, SchemaError
from reluscope.inspection import inspect
from reluscope.opening import open_archive, verify_archive

LABEL = {"long_name": "loss", "units": "1"}
POINTS = [{"scheduler": scheduler, "seed": seed} for scheduler in ("zwölf", "one") for seed in (1, 0)]


def epoch(number: int, value: float = 0.0) -> xr.Dataset:
    return xr.Dataset(
        {
            "loss": ("epoch", [value + number / 8], {**LABEL, "long_name": "Verlust é"}),
            "dead": (("epoch", "unit"), [[number % 2 == 0, True]], LABEL),
            "empty": ("epoch", [""], LABEL),
        },
        {
            "epoch": ("epoch", [number], LABEL),
            "step": ("epoch", [10 * number], LABEL),
            "unit_site": ("unit", ["é#0", "é#0"], LABEL),
            "neuron": ("unit", [0, 1], LABEL),
        },
    )


def step(number: int) -> xr.Dataset:
    return xr.Dataset({"rate": ("step", [0.1 / (1 + number)], LABEL)}, {"step": ("step", [number], LABEL)})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.nc"


def fill(writer: ArchiveWriter, points: list[dict[str, object]] = POINTS) -> None:
    for index, point in enumerate(points):
        for number in range(3):
            writer.append("epoch", epoch(number, index), point)  # type: ignore[arg-type]
            for inner in range(4):
                writer.append("step", step(4 * number + inner), point)  # type: ignore[arg-type]
            writer.flush({"point": index, "epoch": number})


def data(tree: xr.DataTree) -> dict[str, xr.Dataset]:
    return {node.path: node.to_dataset(inherit=False) for node in tree.children.values()}


def assert_same(a: xr.DataTree, b: xr.DataTree) -> None:
    first, second = data(a), data(b)
    assert first.keys() == second.keys()
    for group in first:
        xr.testing.assert_identical(first[group], second[group])


def test_a_run_becomes_one_file(path: Path) -> None:
    with ArchiveWriter(path, attrs={"provenance": {"recipe": {"title": "é"}}, "title": "Läufe"}) as writer:
        fill(writer)
        unfinished = open_archive(path)
        assert_same(unfinished, open_archive(f"{path}.parts"))
        tree = writer.finish()
    assert os.listdir(path.parent) == ["run.nc"]
    assert_same(tree, unfinished)
    assert_same(tree, open_archive(path, verify=True))
    assert verify_archive(path) == []
    assert tree["/epoch/loss"].dims == ("scheduler", "seed", "epoch")
    assert tree["/epoch/loss"].sel(scheduler="one", seed=0, epoch=2).item() == 3.25
    assert tree["/epoch/dead"].dtype == bool
    assert tree["/epoch/step"].dims == ("epoch",)
    assert tree["/epoch/unit_site"].values.tolist() == ["é#0", "é#0"]
    assert tree["/epoch/unit_site"].dtype.kind == "U"
    assert tree["/epoch/loss"].attrs["long_name"] == "Verlust é"
    assert set(tree["/epoch/empty"].values.ravel().tolist()) == {""}
    assert tree["/step/rate"].sizes == {"scheduler": 2, "seed": 2, "step": 12}
    assert json.loads(tree.attrs["provenance"]) == {"recipe": {"title": "é"}}
    assert json.loads(tree.attrs["sweep_dims"]) == ["scheduler", "seed"]
    assert tree.attrs["title"] == "Läufe"
    assert tree.attrs["schema_version"] == 1
    assert len(tree.attrs["history"].splitlines()) == 1


def test_other_programs_can_read_it(path: Path) -> None:
    with ArchiveWriter(path, attrs={}) as writer:
        fill(writer)
        tree = writer.finish()
    with xr.open_datatree(path, engine="netcdf4") as plain:
        np.testing.assert_array_equal(plain["/epoch/loss"], tree["/epoch/loss"])


@settings(max_examples=8)
@given(st.lists(st.integers(0, 23), max_size=4), st.permutations(range(4)))
def test_neither_flushes_nor_the_order_of_points_matter(
    tmp_path_factory: pytest.TempPathFactory, flushes: list[int], order: list[int]
) -> None:
    def run(path: Path, points: list[dict[str, object]], flushes: list[int]) -> xr.DataTree:
        with ArchiveWriter(path, attrs={}) as writer:
            for index, point in enumerate(points):
                for number in range(3):
                    writer.append("epoch", epoch(number, POINTS.index(point)), point)  # type: ignore[arg-type]
                    writer.append("step", step(number), point)  # type: ignore[arg-type]
                    if 3 * index + number in flushes:
                        writer.flush()
            return writer.finish()

    folder = tmp_path_factory.mktemp("split")
    assert_same(run(folder / "a.nc", POINTS, []), run(folder / "b.nc", [POINTS[index] for index in order], flushes))


def test_empty_groups_and_an_empty_run(path: Path) -> None:
    with ArchiveWriter(path, attrs={}) as writer:
        writer.append("nothing", xr.Dataset())
        writer.append(
            "deep/er", xr.Dataset({"none": ("site", np.zeros(0), LABEL)}, {"site": ("site", np.zeros(0, "U1"), LABEL)})
        )
        tree = writer.finish()
    assert set(tree.children) == {"nothing", "deep"}
    assert tree["/deep/er/none"].shape == (0,)
    with ArchiveWriter(path.with_name("empty.nc"), attrs={}) as writer:
        assert not writer.finish().children


def test_large_numbers_are_compressed_and_exact(path: Path) -> None:
    rng = np.random.default_rng(0)
    block = np.repeat(rng.standard_normal((1, 50_000)), 8, axis=0)
    block[0, :3] = [np.nan, -0.0, np.finfo(float).max]
    with ArchiveWriter(path, attrs={}) as writer:
        writer.append("g", xr.Dataset({"value": (("sample", "feature"), block, LABEL)}))
        tree = writer.finish()
    assert tree["/g/value"].values.tobytes() == block.tobytes()
    assert path.stat().st_size < block.nbytes


def test_an_appended_array_may_change_afterwards(path: Path) -> None:
    values = np.array([1.0])
    with ArchiveWriter(path, attrs={}) as writer:
        writer.append("epoch", xr.Dataset({"loss": ("epoch", values, LABEL)}, {"epoch": ("epoch", [0], LABEL)}))
        values[0] = 7
        assert writer.finish()["/epoch/loss"].item() == 1


def kill_after(path: Path, script: str) -> None:
    code = f"import os, signal\nPATH = {str(path)!r}\n" + textwrap.dedent(script)
    code += "\nos.kill(os.getpid(), signal.SIGKILL)"
    helpers = Path(__file__).read_text().split("@pytest.fixture")[0]
    done = subprocess.run([sys.executable, "-c", helpers + code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_killed_run_opens_and_goes_on(path: Path) -> None:
    kill_after(
        path,
        """
        writer = ArchiveWriter(PATH, attrs={"provenance": {"a": 1}})
        for number in range(4):
            writer.append("epoch", epoch(number))
            writer.flush({"epoch": number, "w": torch.arange(3.0)} if number < 3 else None)
        writer.append("epoch", epoch(4))
        """,
    )
    tree = open_archive(path)
    assert tree["/epoch"].epoch.values.tolist() == [0, 1, 2, 3]
    assert tree.attrs["provenance"] == '{"a": 1}'
    with ArchiveWriter(path, attrs={"provenance": {"b": 2}}, resume=True) as writer:
        checkpoint = writer.checkpoint
        assert checkpoint is not None
        assert checkpoint["epoch"] == 2
        assert torch.equal(checkpoint["w"], torch.arange(3.0))
        assert open_archive(path)["/epoch"].epoch.values.tolist() == [0, 1, 2]
        assert writer.attrs["provenance"] == '{"a": 1}'
        for number in range(3, 6):
            writer.append("epoch", epoch(number))
        tree = writer.finish()
    assert tree["/epoch"].epoch.values.tolist() == list(range(6))
    assert len(tree.attrs["history"].splitlines()) == 2


REMOVALS = ["remove part-000001.nc", "remove attrs.json", "remove lock", "remove"]


@pytest.mark.parametrize("moment", ["part", "checkpoint", "attrs", "archive", *REMOVALS])
def test_a_kill_in_the_middle_of_writing(path: Path, moment: str) -> None:
    names = {"part": "part-000001.nc", "checkpoint": "checkpoint.pt", "attrs": "attrs.json", "archive": "run.nc"}
    kill_after(
        path,
        f"""
        from reluscope import durable
        real, writes = os.replace, []
        def replace(source, target):
            writes.append(Path(target).name)
            if Path(target).name == {names.get(moment)!r} and (writes.count(Path(target).name) > 1 or {moment!r} in
                    ("part", "attrs", "archive")):
                os.kill(os.getpid(), signal.SIGKILL)
            real(source, target)
        durable.os.replace = replace
        if {moment!r} in {REMOVALS!r}:
            remove = Path.unlink
            def unlink(self, missing_ok=False):
                if self.name == {moment!r}.partition(" ")[2]:
                    os.kill(os.getpid(), signal.SIGKILL)
                remove(self, missing_ok)
            Path.unlink = unlink
        writer = ArchiveWriter(PATH, attrs={{}})
        for number in range(3):
            writer.append("epoch", epoch(number))
            writer.flush({{"epoch": number}})
        import shutil
        shutil.rmtree = lambda path: os.kill(os.getpid(), signal.SIGKILL)
        writer.finish()
        """,
    )
    if moment in REMOVALS:
        assert open_archive(path)["/epoch"].sizes["epoch"] == 3
    with ArchiveWriter(path, attrs={}, resume=True) as writer:
        assert not list(path.parent.glob("**/*.tmp"))
        checkpoint = writer.checkpoint
        assert writer.finished == (moment in REMOVALS)
        if not writer.finished:
            for number in range(0 if checkpoint is None else checkpoint["epoch"] + 1, 3):
                writer.append("epoch", epoch(number))
                writer.flush({"epoch": number})
        tree = writer.finish()
    assert os.listdir(path.parent) == ["run.nc"]
    assert_same(tree, open_archive(path, verify=True))
    with ArchiveWriter(path.with_name("whole.nc"), attrs={}) as writer:
        for number in range(3):
            writer.append("epoch", epoch(number))
        assert_same(tree, writer.finish())


def test_stale_temporary_files_are_ignored_and_removed(path: Path) -> None:
    with ArchiveWriter(path, attrs={}) as writer:
        writer.append("epoch", epoch(0))
        writer.flush({"epoch": 0})
    folder = Path(f"{path}.parts")
    for name in ("part-000001.nc.tmp", "checkpoint.pt.tmp", "archive.nc.tmp"):
        (folder / name).write_bytes(b"half")
    assert open_archive(path)["/epoch"].sizes["epoch"] == 1
    ArchiveWriter(path, attrs={}, resume=True).close()
    assert not list(folder.glob("*.tmp"))


def test_nothing_is_overwritten(path: Path) -> None:
    with ArchiveWriter(path, attrs={}) as writer:
        writer.append("epoch", epoch(0))
        writer.flush({"epoch": 0})
    with pytest.raises(ArchiveError, match=r"not finished.*--resume.*another name.*remove"):
        ArchiveWriter(path, attrs={})
    with ArchiveWriter(path, attrs={}, resume=True) as writer:
        tree = writer.finish()
        with pytest.raises(ArchiveError, match="is finished"):
            writer.append("epoch", epoch(1))
    with pytest.raises(ArchiveError, match=r"finished archive.*another name.*remove"):
        ArchiveWriter(path, attrs={})
    content = path.read_bytes()
    with ArchiveWriter(path, attrs={}, resume=True) as writer:
        assert writer.finished
        assert writer.checkpoint is None
        with pytest.raises(ArchiveError, match="is finished"):
            writer.flush()
        assert_same(writer.finish(), tree)
    assert path.read_bytes() == content


def test_a_file_that_came_in_between_is_kept(path: Path) -> None:
    with ArchiveWriter(path, attrs={}) as writer:
        writer.append("epoch", epoch(0))
        path.write_text("precious")
        with pytest.raises(ArchiveError, match="came into being"):
            writer.finish()
        assert path.read_text() == "precious"
        path.unlink()
        assert writer.finish()["/epoch"].sizes["epoch"] == 1


def test_two_runs_of_one_name_are_told_apart(path: Path) -> None:
    for _ in range(2):
        with ArchiveWriter(path, attrs={}) as writer:
            writer.append("epoch", epoch(0))
            writer.flush({"epoch": 0})
            if path.with_name("other.nc").exists():
                break
            writer.finish()
        path.rename(path.with_name("other.nc"))
    shutil.copy(path.with_name("other.nc"), path)
    with pytest.raises(ArchiveError, match="is not what"):
        ArchiveWriter(path, attrs={}, resume=True)
    assert Path(f"{path}.parts", "part-000000.nc").exists()


def test_resume_with_nothing_there_starts_afresh(path: Path) -> None:
    with ArchiveWriter(path, attrs={}, resume=True) as writer:
        assert writer.checkpoint is None
        writer.append("epoch", epoch(0))
        writer.finish()
    Path(f"{path.with_name('bare.nc')}.parts").mkdir()
    ArchiveWriter(path.with_name("bare.nc"), attrs={}, resume=True).close()


def test_two_writers(path: Path) -> None:
    writer = ArchiveWriter(path, attrs={})
    with pytest.raises(ArchiveError, match="another process is writing"):
        ArchiveWriter(path, attrs={}, resume=True)
    writer.append("epoch", epoch(0))
    writer.finish()
    with pytest.raises(ArchiveError, match="finished"):
        writer.append("epoch", epoch(1))
    writer.close()
    writer.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_does_not_keep_the_lock(path: Path) -> None:
    writer = ArchiveWriter(path, attrs={})
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    os.close(read)
    try:
        writer.close()
        ArchiveWriter(path, attrs={}, resume=True).close()
    finally:
        os.close(write)
        os.waitpid(child, 0)


def test_a_closed_writer_says_so(path: Path) -> None:
    writer = ArchiveWriter(path, attrs={})
    writer.append("epoch", epoch(0))
    writer.close()
    assert open_archive(path)["/epoch"].sizes["epoch"] == 1
    with pytest.raises(ArchiveError, match="closed"):
        writer.append("epoch", epoch(1))


@pytest.mark.parametrize(
    ("group", "wrong", "point", "match"),
    [
        ("epoch", epoch(1).drop_vars("epoch"), {}, "no labels"),
        ("epoch", epoch(1).isel(epoch=0), {}, "expand_dims"),
        ("epoch", xr.concat([epoch(1), epoch(1)], "epoch", data_vars="minimal"), {}, "not unique"),
        ("epoch", epoch(1).rename(epoch="lap"), {}, "'lap'"),
        ("epoch", epoch(1)[["loss"]].astype(complex, keep_attrs=True), {}, "complex"),
        ("epoch", epoch(1), {"seed": 0}, "other keys"),
        ("epoch", epoch(1), {"neuron": 0}, "in the data too"),
        ("other", epoch(1), {"seed": float("nan")}, "finite"),
        ("other", epoch(1), {"seed": [1]}, "finite"),
        ("other", epoch(1), {"seed": 1 << 70}, "64 bits"),
        ("epoch/inner", epoch(1), {}, "lie in one another"),
        ("../up", epoch(1), {}, "plain names"),
        ("", epoch(1), {}, "plain names"),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_is_lost(
    path: Path, group: str, wrong: xr.Dataset, point: dict[str, object], match: str
) -> None:
    with ArchiveWriter(path, attrs={}) as writer:
        writer.append("epoch", epoch(0))
        with pytest.raises(SchemaError, match=match):
            writer.append(group, wrong, point)  # type: ignore[arg-type]
        writer.append("epoch", epoch(2))
        assert writer.finish()["/epoch"].epoch.values.tolist() == [0, 2]


class Opaque:
    pass


@pytest.mark.parametrize(
    "wrong", [Opaque(), np.float64(1), np.zeros(2), {"deep": [1, {"x": Opaque()}]}, [lambda: None]]
)
def test_a_checkpoint_is_plain(path: Path, wrong: object) -> None:
    with ArchiveWriter(path, attrs={}) as writer:
        writer.append("epoch", epoch(0))
        with pytest.raises(ArchiveError, match=r"checkpoint\['state'\].*plain types"):
            writer.flush({"state": wrong})
        writer.flush({"state": 1})
        assert writer.checkpoint == {"state": 1}


def test_a_real_training_state_is_plain(path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10)
    model(torch.ones(4, 2)).sum().backward()
    optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "random": torch.get_rng_state()}
    state["scheduler"] = {key: value for key, value in scheduler.state_dict().items() if not callable(value)}
    with ArchiveWriter(path, attrs={}) as writer:
        writer.flush(state)
        loaded = writer.checkpoint
    assert loaded is not None
    assert torch.equal(loaded["model"]["0.weight"], model[0].weight)


def test_a_corrupt_checkpoint_is_named(path: Path) -> None:
    with ArchiveWriter(path, attrs={}) as writer:
        writer.append("epoch", epoch(0))
        writer.flush({"w": torch.arange(1000.0)})
    file = Path(f"{path}.parts", "checkpoint.pt")
    content = file.read_bytes()
    rng = np.random.default_rng(0)
    middle = content.index(torch.arange(1000.0).numpy().tobytes()[400:440])
    flipped = bytearray(content)
    flipped[middle] ^= 1
    pickled = b"\x80\x04cos\nsystem\n(S'true'\ntR."
    for damaged in (b"", content[:-30], bytes(flipped), rng.bytes(3000), pickled):
        file.write_bytes(damaged)
        with pytest.raises(ArchiveError, match=r"checkpoint\.pt is corrupt"):
            ArchiveWriter(path, attrs={}, resume=True)
        assert open_archive(path)["/epoch"].sizes["epoch"] == 1
    file.write_bytes(content)
    ArchiveWriter(path, attrs={}, resume=True).close()


def test_nothing_is_unpickled(path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(path.with_name("sprung")),)

    with ArchiveWriter(path, attrs={}) as writer:
        writer.flush({"a": 1})
    torch.save({"parts": 0, "checkpoint": {"a": Trap()}}, Path(f"{path}.parts", "checkpoint.pt"))
    with pytest.raises(ArchiveError, match="corrupt"):
        ArchiveWriter(path, attrs={}, resume=True)
    assert not path.with_name("sprung").exists()


@pytest.fixture
def folder(path: Path) -> Path:
    with ArchiveWriter(path, attrs={}) as writer:
        for number in range(3):
            writer.append("epoch", epoch(number))
            writer.flush({"epoch": number})
    return Path(f"{path}.parts")


def test_damaged_parts_are_named(folder: Path, path: Path) -> None:
    part = folder / "part-000001.nc"
    content = part.read_bytes()
    for damaged, match in (
        (content[: len(content) // 2], "cut short"),
        (content[:-1], "manifest|damaged|cut short"),
        (b"junk" * 1000, "not a NetCDF-4 file"),
        (content[:4000] + bytes([content[4000] ^ 4]) + content[4001:], "damaged"),
    ):
        part.write_bytes(damaged)
        if damaged == content[:-1]:
            open_archive(path)  # the seal alone is cut: the sums inside still vouch for the data
            continue
        with pytest.raises(ArchiveError, match=match) as caught:
            open_archive(path)
        assert "part-000001.nc" in str(caught.value)
    part.unlink()
    with pytest.raises(ArchiveError, match=r"part-000001\.nc is missing"):
        open_archive(path)
    with pytest.raises(ArchiveError, match=r"part-000001\.nc is missing"):
        ArchiveWriter(path, attrs={}, resume=True)


def test_missing_parts_and_attrs(folder: Path, path: Path) -> None:
    (folder / "part-000002.nc").unlink()
    with pytest.raises(ArchiveError, match="covers 3 parts, only 2"):
        ArchiveWriter(path, attrs={}, resume=True)
    for content in ("", "[]", "[" * 100_000, '{"a": {}}'):
        (folder / "attrs.json").write_text(content)
        with pytest.raises(ArchiveError, match=r"attrs\.json is damaged"):
            open_archive(path)
    (folder / "attrs.json").unlink()
    with pytest.raises(ArchiveError, match=r"attrs\.json"):
        ArchiveWriter(path, attrs={}, resume=True)
    with pytest.raises(ArchiveError, match="holds nothing yet"):
        open_archive(path)


def test_symbolic_links_are_refused(folder: Path, path: Path) -> None:
    real = path.with_name("real.nc")
    (folder / "part-000002.nc").rename(real)
    (folder / "part-000002.nc").symlink_to(real)
    with pytest.raises(ArchiveError, match="symbolic link"):
        open_archive(path)
    with pytest.raises(ArchiveError, match="symbolic link"):
        ArchiveWriter(path, attrs={}, resume=True)
    (folder / "part-000002.nc").unlink()
    real.rename(folder / "part-000002.nc")
    folder.rename(path.with_name("elsewhere"))
    folder.symlink_to(path.with_name("elsewhere"))
    with pytest.raises(ArchiveError, match="symbolic link"):
        open_archive(path)


def test_the_bound_is_on_all_parts_together(folder: Path, path: Path) -> None:
    declared = [inspect(part) for part in sorted(folder.glob("*.nc"))]
    open_archive(path, max_bytes=sum(declared))
    with pytest.raises(ArchiveError, match=r"part-000002.*max_bytes"):
        open_archive(path, max_bytes=sum(declared) - 1)


def test_nothing_there(tmp_path: Path) -> None:
    for name in ("x.nc", "x.nc.parts"):
        with pytest.raises(ArchiveError, match="does not exist"):
            open_archive(tmp_path / name)
    with pytest.raises(ArchiveError, match="does not exist"):
        verify_archive(tmp_path / "x.nc")


def nothing_in_common(number: int) -> xr.Dataset:
    # two labels grow at once: the records fill a diagonal, so none can be joined with another
    variables = {"value": (("epoch", "step"), [[float(number)]], LABEL)}
    return xr.Dataset(variables, {dim: (dim, [number], LABEL) for dim in ("epoch", "step")})


def test_a_flush_of_more_records_than_a_file_may_hold(path: Path) -> None:
    with ArchiveWriter(path, attrs={}) as writer:
        for number in range(1100):
            writer.append("g", nothing_in_common(number))
        writer.flush({"number": 1100})
        assert [inspect(part) > 0 for part in sorted(Path(f"{path}.parts").glob("*.nc"))] == [True, True]
        assert open_archive(path)["/g/value"].shape == (1100, 1100)
        tree = writer.finish()
    np.testing.assert_array_equal(np.diag(tree["/g/value"].values), np.arange(1100.0))
    assert np.isnan(tree["/g/value"].values).sum() == 1100 * 1099


def test_records_in_turn_make_a_small_part(path: Path) -> None:
    with ArchiveWriter(path, attrs={}) as writer:
        for number in range(1100):
            data = xr.Dataset(
                {"ab"[number % 2]: ("step", [float(number)], LABEL)}, {"step": ("step", [number // 2], LABEL)}
            )
            writer.append("g", data)
        writer.flush()
        with xr.open_datatree(f"{path}.parts/part-000000.nc", engine="netcdf4") as part:
            assert len(part.children) == 2
        tree = writer.finish()
    assert tree["/g/b"].values.tolist() == list(range(1, 1100, 2))


def test_a_flush_of_more_variables_than_a_file_may_hold(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MAX_VARIABLES", 40)
    with ArchiveWriter(path, attrs={}) as writer:
        for number in range(9):
            variables = {f"x{index}": (("epoch", "step", "sample"), [[[number]]], LABEL) for index in range(9)}
            writer.append("g", xr.Dataset(variables, nothing_in_common(number).coords))
        writer.flush()
        assert len(list(Path(f"{path}.parts").glob("*.nc"))) == 3
        for part in Path(f"{path}.parts").glob("*.nc"):
            with h5py.File(part) as file:
                counted = [name for group in file.values() for name in group if isinstance(group, h5py.Group)]
            assert len(counted) == 36
        assert writer.finish()["/g/x8"].sizes == {"epoch": 9, "step": 9, "sample": 1}


def test_what_no_file_may_hold_is_refused_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = xr.Dataset({f"x{index}": ((), 0.0, LABEL) for index in range(41)})
    with ArchiveWriter(path, attrs={}) as writer:
        for group, data, match in (
            ("g", many, r"41 variables and dims, expected at most 40"),
            ("/".join("abcdefghijklmnopq"), xr.Dataset(), "17 levels, expected at most 16"),
            ("g", xr.Dataset(attrs={f"a{index}": 0 for index in range(1000)}), "1,000 attributes"),
            ("g", xr.Dataset(attrs={"a": "é" * (9 << 20)}), "bytes in attribute 'a'"),
            ("g", xr.Dataset(attrs={"a": ["é"] * 65}), "65 texts in attribute 'a'"),
        ):
            with monkeypatch.context() as patch:
                patch.setattr(bounds, "MAX_VARIABLES", 40)
                with pytest.raises(SchemaError, match=match):
                    writer.append(group, data)
        monkeypatch.setattr(bounds, "MAX_GROUPS", 4)
        writer.append("a/b", xr.Dataset())
        writer.append("c", xr.Dataset())
        with pytest.raises(SchemaError, match="5 groups, expected at most 4"):
            writer.append("d", xr.Dataset())
        assert set(writer.finish().children) == {"a", "c"}


def test_an_archive_that_could_not_be_opened_is_not_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ArchiveWriter(path, attrs={}) as writer:
        for number in range(4):
            writer.append(f"g{number}", xr.Dataset({"value": ((), number, LABEL)}))
            writer.flush()
        with monkeypatch.context() as patch:
            patch.setattr(bounds, "MAX_VARIABLES", 3)
            with pytest.raises(SchemaError, match="4 variables and dims, expected at most 3"):
                writer.finish()
        assert not path.exists()
        assert len(writer.finish().children) == 4


def test_a_kill_between_two_parts_of_one_flush(path: Path) -> None:
    kill_after(
        path,
        """
        from reluscope import bounds, durable
        bounds.MAX_GROUPS = 3
        def diagonal(number):
            coords = {dim: (dim, [number], LABEL) for dim in ("epoch", "step")}
            return xr.Dataset({"value": (("epoch", "step"), [[1.0]], LABEL)}, coords)
        real = os.replace
        def replace(source, target):
            if Path(target).name == "part-000002.nc":
                os.kill(os.getpid(), signal.SIGKILL)
            real(source, target)
        durable.os.replace = replace
        writer = ArchiveWriter(PATH, attrs={})
        writer.append("g", diagonal(0))
        writer.flush({"next": 1})
        for number in range(1, 5):
            writer.append("g", diagonal(number))
        writer.flush({"next": 5})
        """,
    )
    assert open_archive(path)["/g"].epoch.values.tolist() == [0, 1, 2]
    with ArchiveWriter(path, attrs={}, resume=True) as writer:
        assert writer.checkpoint == {"next": 1}
        for number in range(1, 5):
            writer.append("g", nothing_in_common(number))
        assert writer.finish()["/g"].epoch.values.tolist() == [0, 1, 2, 3, 4]


def test_a_flush_that_fails_half_way_goes_on_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MAX_GROUPS", 3)
    with ArchiveWriter(path, attrs={}) as writer:
        for number in range(5):
            writer.append("g", nothing_in_common(number))
        with monkeypatch.context() as patch:
            full_disk(patch, "part-000001")
            with pytest.raises(ArchiveError, match="the disk is full; 1 parts"):
                writer.flush({"a": 1})
            assert writer.checkpoint is None
        writer.flush({"a": 2})
        assert len(list(Path(f"{path}.parts").glob("*.nc"))) == 3
        assert writer.finish()["/g"].epoch.values.tolist() == list(range(5))


def started(path: Path, **changes: object) -> dict[str, object]:
    began = provenance.collect()
    with ArchiveWriter(path, attrs={"provenance": {**began, **changes}}) as writer:
        writer.append("epoch", epoch(0))
        writer.flush({"epoch": 0})
    return began


def test_resuming_in_the_same_environment_says_nothing(path: Path) -> None:
    began = started(path)
    with ArchiveWriter(path, attrs={"provenance": provenance.collect()}, resume=True) as writer:
        writer.append("epoch", epoch(1))
        assert json.loads(writer.finish().attrs["provenance"]) == began


def test_resuming_elsewhere_is_noted_and_warned_of_once(path: Path) -> None:
    present = provenance.collect()
    started(path, versions={**present["versions"], "torch": "2.0"}, threads=torch.get_num_threads() + 1)
    expected = {
        "versions.torch": ["2.0", present["versions"]["torch"]],
        "threads": [torch.get_num_threads() + 1, torch.get_num_threads()],
    }
    for number in (1, 2):
        with ArchiveWriter(path, attrs={"provenance": present}, resume=True) as writer:
            assert "resumed" not in json.loads(writer.attrs["provenance"]) or number == 2
            writer.append("epoch", epoch(number))
            with pytest.warns(ReproducibilityWarning, match=r"versions\.torch .* instead of 2\.0.*not .*bit for bit"):
                writer.flush({"epoch": number})
            writer.append("epoch", epoch(9))
            writer.flush()
        found = json.loads(open_archive(path).attrs["provenance"])
        assert found["versions"]["torch"] == "2.0"
        assert found["resumed"] == [{"start": present["start"], "differences": expected}] * number


def test_history_holds_no_absolute_path(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/home/somebody/bin/reluscope", "run", "/home/somebody/x.toml", "--out", "r.nc"])
    with ArchiveWriter(path, attrs={}) as writer:
        history = writer.finish().attrs["history"]
    assert history.endswith("Z reluscope run x.toml --out r.nc")


def test_wrong_attrs_are_refused_before_anything_is_made(path: Path) -> None:
    with pytest.raises(SchemaError, match="provenance"):
        ArchiveWriter(path, attrs={"provenance": "no json"})
    assert os.listdir(path.parent) == []


def full_disk(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if name in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(durable.os, "fsync", fsync)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to tell which file is written")
@pytest.mark.parametrize("name", ["part-000001", "checkpoint", "archive.nc"])
def test_a_full_disk_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with ArchiveWriter(path, attrs={}) as writer:
        writer.append("epoch", epoch(0))
        writer.flush({"epoch": 0})
        writer.append("epoch", epoch(1))
        with monkeypatch.context() as patch:
            full_disk(patch, name)
            for _ in range(2):
                with pytest.raises(ArchiveError, match=r"the disk is full; [12] parts.*are safe in .*--resume"):
                    (writer.finish if name == "archive.nc" else lambda: writer.flush({"epoch": 1}))()
                assert not list(path.parent.glob("**/*.tmp"))
            assert not path.exists()
            assert writer.checkpoint == {"epoch": 0}
        writer.append("epoch", epoch(2))
        assert writer.finish()["/epoch"].epoch.values.tolist() == [0, 1, 2]


def mounted(folder: Path, *options: str) -> Iterator[Path]:
    folder.mkdir()
    if not sys.platform.startswith("linux") or not shutil.which("mount"):
        pytest.skip("needs mount on Linux")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"may not mount: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path / "tiny", "-o", "size=256k")


def test_a_disk_that_is_really_full(tiny: Path) -> None:
    path, ballast = tiny / "run.nc", tiny / "ballast"
    ballast.write_bytes(bytes(100_000))
    noise = np.random.default_rng(0).random(1000)
    writer = ArchiveWriter(path, attrs={})
    written = 0
    with pytest.raises(ArchiveError, match="the disk is full") as caught:  # noqa: PT012
        for written in range(100):
            writer.append(
                "g",
                xr.Dataset(
                    {"value": (("epoch", "sample"), noise[None], LABEL)}, {"epoch": ("epoch", [written], LABEL)}
                ),
            )
            writer.flush({"epoch": written})
    assert 0 < written < 100
    assert "safe in" in str(caught.value)
    assert not list(tiny.glob("**/*.tmp"))
    assert open_archive(path)["/g"].sizes["epoch"] >= written
    with pytest.raises(ArchiveError, match="the disk is full"):
        writer.finish()
    assert not path.exists()
    ballast.unlink()
    writer.flush({"epoch": written})
    tree = writer.finish()
    writer.close()
    assert tree["/g"].epoch.values.tolist() == list(range(written + 1))
    assert os.listdir(tiny) == ["run.nc"]


def test_a_disk_too_full_to_begin_is_left_as_it_was(tiny: Path) -> None:
    (tiny / "ballast").write_bytes(bytes(256 << 10))
    with pytest.raises(ArchiveError, match=r"disk is full; nothing was changed"):
        ArchiveWriter(tiny / "run.nc", attrs={})
    assert os.listdir(tiny) == ["ballast"]


def test_a_folder_in_place_of_the_archive(path: Path) -> None:
    path.mkdir()
    with pytest.raises(ArchiveError, match=r"run\.nc exists and is a folder; choose another name"):
        ArchiveWriter(path, attrs={})


def test_a_read_only_folder(tmp_path: Path) -> None:
    for folder in mounted(tmp_path / "fixed", "-o", "ro"):
        with pytest.raises(ArchiveError, match=r"read-only.*another --out"):
            ArchiveWriter(folder / "run.nc", attrs={})


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ArchiveError, match="read-only"):
            ArchiveWriter(tmp_path / "run.nc", attrs={})
    finally:
        tmp_path.chmod(0o700)


def test_a_path_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArchiveError, match=r"cannot make .*file"):
        ArchiveWriter(tmp_path / "file" / "run.nc", attrs={})


def test_an_interrupt_while_writing_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = ArchiveWriter(path, attrs={})
    writer.append("epoch", epoch(0))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(durable.os, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            writer.flush({"epoch": 0})
    assert not list(path.parent.glob("**/*.tmp"))
    writer.close()
    assert open_archive(path)["/epoch"].sizes["epoch"] == 1


def test_torch_is_not_imported_without_a_checkpoint(tmp_path: Path) -> None:
    code = f"""
        import sys, xarray as xr
        from reluscope.archive import ArchiveWriter
        with ArchiveWriter({str(tmp_path / "run.nc")!r}, attrs={{}}) as writer:
            writer.append("g", xr.Dataset({{"value": ((), 1.0, {LABEL})}}))
            writer.finish()
        assert "torch" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
