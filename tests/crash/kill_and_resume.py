"""Kill a training run at random moments, resume it, compare it with the run that was never killed: `make crash-test`.

For each trial: start the run, send SIGKILL after a random delay, open what is left, resume, and compare. It passes
where every resumed archive has data variables equal bit for bit to those of the reference, and where what is left
after the kill is a gapless beginning of the reference that reaches to the last flush.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import xarray as xr

import reluscope as rs
from reluscope.errors import ReluscopeError

FLUSH_SECONDS = 0.5
RECIPE = f"""
title = "A run to be killed"
procedure = "train"
epochs = 60
batch_size = 16
flush_seconds = {FLUSH_SECONDS}
dataset = {{ name = "digits" }}
architecture = {{ name = "mlp", widths = [64, 128, 128, 10], batch_norm = true, dropout = 0.2 }}
optimizer = {{ name = "sgd", learning_rate = 0.05, momentum = 0.9 }}
metrics = [
    {{ name = "firing_rate" }},
    {{ name = "dead_units", every = "100 steps", split = "train" }},
    {{ name = "affine_rank", samples = 50 }},
    {{ name = "pattern_jaccard_previous", samples = 100 }},
    {{ name = "pattern_jaccard_last", samples = 100, every = "5 epochs" }},
]
[sweep]
scheduler = [{{ name = "step_decay" }}, {{ name = "one_cycle", peak = 0.1 }}]
"""


def command(recipe: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "reluscope", "run", str(recipe), "--out", str(out), "--no-report", *more]


def differences(left: xr.DataTree, right: xr.DataTree) -> list[str]:
    """Name the variables of two archives that are not equal bit for bit."""
    names = {(node.path, str(name)) for tree in (left, right) for node in tree.subtree for name in node.variables}
    wrong = []
    for path, name in sorted(names):
        try:
            a, b = left[path].variables[name], right[path].variables[name]
        except KeyError:
            wrong.append(f"{path}/{name}")
            continue
        same = a.dims == b.dims and a.dtype == b.dtype and a.shape == b.shape
        if not same or np.ascontiguousarray(a.values).tobytes() != np.ascontiguousarray(b.values).tobytes():
            wrong.append(f"{path}/{name}")
    return wrong


def is_beginning(part: xr.DataTree, whole: xr.DataTree) -> bool:
    """Say whether what a kill left is a gapless beginning of the whole run, equal in what it holds."""
    for group, dim in (("step", "step"), ("epoch", "epoch")):
        if group not in part:
            continue
        for scheduler in part[group].ds.scheduler.values:
            kept = part[group].ds.sel(scheduler=scheduler)
            lead = "batch_loss" if group == "step" else "train_loss"
            kept = kept.isel({dim: np.flatnonzero(~np.isnan(kept[lead].values))})
            full = whole[group].ds.sel(scheduler=scheduler).isel({dim: slice(0, kept.sizes[dim])})
            for name in kept.data_vars:
                if not np.array_equal(kept[name].values, full[name].values, equal_nan=kept[name].dtype.kind == "f"):
                    return False
            if not np.array_equal(kept[dim].values, full[dim].values):
                return False
    return True


def trial(recipe: Path, reference: xr.DataTree, folder: Path, delay: float) -> tuple[bool, str]:
    """Kill one run after a delay, resume it, compare."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    out = folder / "run.nc"
    child = subprocess.Popen(command(recipe, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(delay)
    child.send_signal(signal.SIGKILL)
    killed = time.time()
    finished = child.wait() == 0
    parts = sorted(Path(f"{out}.parts").glob("part-*.nc"))
    age = killed - parts[-1].stat().st_mtime if parts else 0.0
    begins = True
    if parts:
        try:
            begins = is_beginning(rs.open_archive(out), reference)
        except ReluscopeError as error:
            return False, f"what was left cannot be opened: {error}"
    resumed = subprocess.run(command(recipe, out, "--resume"), capture_output=True, text=True, check=False)
    if resumed.returncode:
        return False, f"resume failed: {resumed.stderr.strip()}"
    wrong = differences(rs.open_archive(out, verify=True), reference)
    note = f"{len(parts)} parts, the last {age:.2f} s before the kill" + (", had finished" if finished else "")
    if wrong:
        return False, f"{note}; differ: {', '.join(wrong)}"
    if not begins:
        return False, f"{note}; what was left is not a beginning of the whole"
    if age > FLUSH_SECONDS + 2.0:
        return False, f"{note}; expected a flush every {FLUSH_SECONDS} s"
    return True, note


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--trials", type=int, default=20)
    arguments.add_argument("--seed", type=int, default=0)
    options = arguments.parse_args()
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="reluscope-crash-") as name:
        folder = Path(name)
        recipe = folder / "killed.toml"
        recipe.write_text(RECIPE, encoding="utf-8")
        started = time.time()
        subprocess.run(command(recipe, folder / "reference.nc"), check=True, stdout=subprocess.DEVNULL)
        length = time.time() - started
        reference = rs.open_archive(folder / "reference.nc", verify=True)
        print(f"the run never killed took {length:.1f} s", flush=True)
        good = 0
        for number in range(options.trials):
            delay = moments.uniform(0.0, length)
            passed, note = trial(recipe, reference, folder / "trial", delay)
            good += passed
            print(
                f"{number + 1:3d}: killed after {delay:5.1f} s: {'equal' if passed else 'FAILED'} ({note})", flush=True
            )
        print(f"{good} of {options.trials} resumed runs equal bit for bit to the run never killed")
    return 0 if good == options.trials else 1


if __name__ == "__main__":
    sys.exit(main())
