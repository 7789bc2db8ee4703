"""What a procedure works with: entries, seeds and state in; records and checkpoints out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reluscope import random_state
from reluscope.errors import RecipeError, ReluscopeError

if TYPE_CHECKING:
    import xarray as xr

    from reluscope.lab import Lab
    from reluscope.recipe import Choice, Recipe
    from reluscope.sweep import Point


class Interrupted(KeyboardInterrupt):
    """A run was asked to stop; all that it recorded is kept, and it can be resumed."""


class Diverged(ReluscopeError):
    """Training left the finite numbers at one point of a sweep; the other points go on."""


@dataclasses.dataclass(frozen=True)
class Record:
    """What a run records: the payload of the hook `reluscope_record`.

    Attributes:
        archive: Path of the archive.
        group: Group of the archive, such as `"epoch"`.
        point: Labels of the point of the sweep, by dim.
        data: The labelled data.
    """

    archive: str
    group: str
    point: Mapping[str, Any]
    data: xr.Dataset


class Context:
    """What a procedure works with at one point of a sweep.

    Attributes:
        lab: All entries.
        recipe: The recipe of this point.
        point: Labels of this point, by dim of the sweep.
        state: What the procedure gave to `checkpoint` before the run was stopped; None at a fresh start.
    """

    def __init__(
        self,
        *,
        lab: Lab,
        recipe: Recipe,
        point: Point,
        state: Mapping[str, Any] | None,
        record: Callable[[str, xr.Dataset], None],
        checkpoint: Callable[[Callable[[], Mapping[str, Any]]], None],
        advance: Callable[[float], None],
        data_root: Path | None = None,
        recorded: Callable[[str], xr.Dataset] | None = None,
    ) -> None:
        self.lab = lab
        self.recipe = recipe
        self.point = point
        self.state = state
        self.data_root = data_root
        self._record = record
        self._recorded = recorded
        self._checkpoint = checkpoint
        self._advance = advance

    def record(self, group: str, data: xr.Dataset) -> None:
        """Put labelled data into the archive, with the next flush.

        Args:
            group: Group of the archive.
            data: Variables with `long_name` and `units`; the dim along which the group grows has a coordinate.
        """
        self._record(group, data)

    def recorded(self, group: str) -> xr.Dataset:
        """Read back what was recorded at this point, also before the run was stopped and resumed.

        Args:
            group: Group of the archive.

        Returns:
            The labelled data; empty where nothing was recorded.
        """
        import xarray as xr

        return xr.Dataset() if self._recorded is None else self._recorded(group)

    def checkpoint(self, state: Callable[[], Mapping[str, Any]]) -> None:
        """Offer to stop here: call it wherever the procedure could be resumed, such as after each optimizer step.

        It costs a look at the clock, except when a flush is due or the run was asked to stop.

        Args:
            state: Called when a checkpoint is written; records what is pending, then returns all that is needed to go
                on from here, as plain types and tensors.
        """
        self._checkpoint(state)

    def advance(self, share: float) -> None:
        """Say how much of this point is done.

        Args:
            share: From 0 to 1.
        """
        self._advance(share)

    def seed(self, *stream: int) -> int:
        """Derive a seed for one stream of draws from the recipe's seed.

        Args:
            *stream: Which stream, such as `(1, epoch)`.

        Returns:
            The seed: the same for the same recipe and stream.
        """
        return random_state.derived_seed(self.recipe.seed, *stream)

    def choice(self, key: str) -> Choice:
        """Return the recipe's choice under a key that this procedure cannot do without.

        Args:
            key: `"dataset"`, `"architecture"`, `"optimizer"` or `"scheduler"`.

        Returns:
            The choice.

        Raises:
            RecipeError: If the recipe has none.
        """
        choice: Choice | None = getattr(self.recipe, key)
        if choice is None:
            raise RecipeError(
                f"[{key}] is missing: the procedure {self.recipe.procedure!r} needs one; add it with a name"
            )
        return choice
