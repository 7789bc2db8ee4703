"""ActCooLR in two data-parallel processes, each with half of every batch, against one process with the whole of it."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from reluscope.errors import ObservationError
from reluscope_plugins.schedulers import ActCooLR

RANKS, STEPS, ROWS = 2, 24, 48


def network() -> nn.Module:
    torch.manual_seed(0)
    # in double precision, so that in both trainings the same units change
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 3)).double()


def train(model: nn.Module, part: slice, width: int, wrong_at: int | None = None) -> dict[str, list[Any]]:
    """Train on a part of each batch; at one step the scheduler first gets a batch that the network does not take."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.5)
    scheduler = ActCooLR(optimizer, model, STEPS, width=width, every=2, warmup=0)
    seen: dict[str, list[Any]] = {"rates": [], "measured": [], "refused": []}
    for step in range(STEPS):
        x = torch.randn(ROWS, 8, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
        y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[part]), y[part]).backward()
        optimizer.step()
        if wrong_at is not None and step in (0, 1):
            try:
                scheduler.step(x[part, : 8 - wrong_at])
            except ObservationError as error:
                seen["refused"].append(str(error))
        scheduler.step(x[part])
        seen["rates"] += scheduler.get_last_lr()
        seen["measured"] += scheduler.measured
    return seen


def one_of_two(rank: int, folder: Path) -> None:
    torch.distributed.init_process_group(
        "gloo",
        init_method=(folder / "rendezvous").as_uri(),
        rank=rank,
        world_size=RANKS,
        timeout=timedelta(seconds=120),  # where they come to different decisions, each waits for another call
    )
    seen = {}
    for width in (0, 64):
        seen[width] = train(nn.parallel.DistributedDataParallel(network()), slice(rank, None, RANKS), width)
    # the batch of rank 1 alone is wrong
    seen[-1] = train(nn.parallel.DistributedDataParallel(network()), slice(rank, None, RANKS), 0, wrong_at=rank)
    (folder / f"{rank}.json").write_text(json.dumps(seen))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, list[Any]]]]:
    """What each of the processes saw, by width."""
    folder = tmp_path_factory.mktemp("ranks")
    processes = [
        subprocess.Popen([sys.executable, __file__, str(rank), str(folder)], stderr=subprocess.PIPE, text=True)
        for rank in range(RANKS)
    ]
    try:
        errors = [process.communicate(timeout=180)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * RANKS, errors
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(RANKS)]


@pytest.mark.parametrize("width", ["0", "64"])
def test_all_ranks_have_the_same_rates(seen: list[dict[str, Any]], width: str) -> None:
    first, second = (one[width] for one in seen)
    assert first == second
    assert len(set(first["rates"])) == STEPS


def test_they_are_those_of_one_process_with_the_mean_of_the_shares(seen: list[dict[str, Any]]) -> None:
    # with width 0 the share of the whole batch is the mean of those of its halves
    alone = train(network(), slice(None), width=0)
    assert seen[0]["0"]["measured"] == pytest.approx(alone["measured"], rel=1e-9)
    assert seen[0]["0"]["rates"] == pytest.approx(alone["rates"], rel=1e-9)


def test_what_one_rank_cannot_measure_all_refuse(seen: list[dict[str, Any]]) -> None:
    first, second = (one["-1"]["refused"] for one in seen)
    assert len(first) == len(second) == 2
    for told, own in zip(first, second, strict=True):
        assert own.startswith("ActCooLR: the network cannot be run on the batch (RuntimeError")
        assert told == f"in the process of rank 1: {own}"
    assert seen[0]["-1"]["rates"] == seen[1]["-1"]["rates"]
    assert seen[0]["-1"]["rates"][:2] == [0.01, 0.01]
    assert 0.01 not in seen[0]["-1"]["rates"][2:]


if __name__ == "__main__":
    one_of_two(int(sys.argv[1]), Path(sys.argv[2]))
