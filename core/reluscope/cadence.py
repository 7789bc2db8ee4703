"""How often something is measured: every k optimizer steps, or every k epochs."""

from __future__ import annotations

import dataclasses
import re

from reluscope.errors import RecipeError


@dataclasses.dataclass(frozen=True)
class Cadence:
    """Every so many steps or epochs.

    Attributes:
        count: How many.
        unit: `"step"` or `"epoch"`.
    """

    count: int
    unit: str

    @classmethod
    def parse(cls, every: int | str) -> Cadence:
        """Read a cadence.

        Args:
            every: A number of steps, `"100 steps"`, `"1 epoch"`, ...

        Returns:
            The cadence.

        Raises:
            RecipeError: If it is none.

        Example:
            >>> Cadence.parse("2 epochs"), Cadence.parse(100)
            (Cadence(count=2, unit='epoch'), Cadence(count=100, unit='step'))
        """
        found = re.fullmatch(
            r"\s*([0-9]+)\s*(step|epoch)s?\s*", f"{every} steps" if isinstance(every, int) else str(every)
        )
        if not found or int(found[1]) < 1:
            raise RecipeError(
                f"every = {every!r}: expected a number of steps or epochs, such as '100 steps' or '1 epoch'"
            )
        return cls(int(found[1]), found[2])

    @property
    def group(self) -> str:
        """The group of the archive for what is measured this often."""
        if self.count == 1:
            return self.unit if self.unit == "epoch" else "every_step"
        return f"every_{self.count}_{self.unit}s"

    def due(self, *, epoch: int | None, step: int) -> bool:
        """Say whether it is time.

        Args:
            epoch: Number of epochs completed, at the end of an epoch (or at the start); None within one.
            step: Number of optimizer steps taken.

        Returns:
            True where the number of epochs or steps is a multiple; at the start, always.
        """
        if self.unit == "epoch":
            return epoch is not None and epoch % self.count == 0
        return step % self.count == 0 and (epoch is None or step == 0)
