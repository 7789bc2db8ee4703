"""When something is measured."""

from __future__ import annotations

from typing import Any

import pytest

from reluscope.cadence import Cadence
from reluscope.errors import RecipeError


def moments(every: int | str, epochs: int, batches: int) -> list[tuple[int | None, int]]:
    """Ask at every moment of a training: before it, after each step, and after each epoch."""
    cadence = Cadence.parse(every)
    asked: list[tuple[int | None, int]] = [(0, 0)]
    for step in range(1, epochs * batches + 1):
        asked.append((None, step))
        if step % batches == 0:
            asked.append((step // batches, step))
    return [(epoch, step) for epoch, step in asked if cadence.due(epoch=epoch, step=step)]


@pytest.mark.parametrize(
    ("every", "due"),
    [
        (4, [(0, 0), (None, 4), (None, 8)]),
        ("3 steps", [(0, 0), (None, 3), (None, 6), (None, 9)]),
        ("1 epoch", [(0, 0), (1, 3), (2, 6), (3, 9)]),
        ("2 epochs", [(0, 0), (2, 6)]),
        ("steps 0, 1, 4", [(0, 0), (None, 1), (None, 4)]),
        ("step 5", [(None, 5)]),
        ("epochs 0,3", [(0, 0), (3, 9)]),
        ("epoch 2", [(2, 6)]),
        ("steps 0, 1 and epochs 2", [(0, 0), (None, 1), (2, 6)]),
        # a moment that both name comes once
        ("epochs 0, 2 and steps 0, 6, 2", [(0, 0), (None, 2), (None, 6)]),
    ],
)
def test_due(every: int | str, due: list[tuple[int | None, int]]) -> None:
    assert moments(every, epochs=3, batches=3) == due


@pytest.mark.parametrize(
    ("every", "text", "group", "unit"),
    [
        (7, "7 steps", "every_7_steps", "step"),
        ("1 step", "1 step", "every_step", "step"),
        (" 1 epochs", "1 epoch", "epoch", "epoch"),
        ("2 epochs", "2 epochs", "every_2_epochs", "epoch"),
        ("steps 40,0", "steps 0, 40", "chosen_steps", "step"),
        ("epoch 3", "epochs 3", "chosen_epochs", "epoch"),
        ("epochs 2, 1 and step 0", "steps 0 and epochs 1, 2", "chosen_steps", "step"),
    ],
)
def test_texts_and_groups(every: int | str, text: str, group: str, unit: str) -> None:
    cadence = Cadence.parse(every)
    assert (str(cadence), cadence.group, cadence.unit) == (text, group, unit)
    assert Cadence.parse(text) == cadence


@pytest.mark.parametrize(
    "every",
    [
        0,
        True,
        2.5,
        "often",
        "0 steps",
        "-1 epochs",
        "1 year",
        "steps",
        "steps 1,",
        "steps 1 2",
        "steps 1, 1",
        "steps -1",
        "steps 1 and steps 2",
        "steps 1 and 2 epochs",
        "steps 1 and",
    ],
)
def test_what_is_no_cadence(every: Any) -> None:
    with pytest.raises(RecipeError, match="expected a number of steps or epochs"):
        Cadence.parse(every)
