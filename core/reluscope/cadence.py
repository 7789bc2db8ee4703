"""When something is measured: every k optimizer steps or epochs, or at chosen ones."""

from __future__ import annotations

import dataclasses
import re

from reluscope.errors import RecipeError

UNITS = ("step", "epoch")
"""What is counted."""

_MOMENTS = r"\s*(step|epoch)s?\s+([0-9]+(?:\s*,\s*[0-9]+)*)\s*"


@dataclasses.dataclass(frozen=True)
class Cadence:
    """Every so many steps or epochs, or at chosen ones.

    Attributes:
        count: Every how many; 0 where the moments are chosen.
        unit: `"step"` or `"epoch"`: along which dim the measurements lie. Where both were chosen, `"step"`.
        steps: Optimizer steps that were chosen, rising; empty where it is every so many.
        epochs: Epochs that were chosen, likewise.
    """

    count: int
    unit: str
    steps: tuple[int, ...] = ()
    epochs: tuple[int, ...] = ()

    @classmethod
    def parse(cls, every: int | str) -> Cadence:
        """Read a cadence.

        Args:
            every: A number of steps, `"100 steps"`, `"1 epoch"`; or the moments themselves, counted from 0, before
                training: `"steps 0, 1, 40"`, `"epochs 0, 10"`, `"steps 0, 1, 40 and epochs 2, 70"`.

        Returns:
            The cadence.

        Raises:
            RecipeError: If it is none.

        Example:
            >>> Cadence.parse("2 epochs"), Cadence.parse(100)
            (Cadence(count=2, unit='epoch', steps=(), epochs=()), Cadence(count=100, unit='step', steps=(), epochs=()))
            >>> Cadence.parse("steps 0, 1, 40 and epochs 2, 70")
            Cadence(count=0, unit='step', steps=(0, 1, 40), epochs=(2, 70))
        """
        text = f"{every} steps" if isinstance(every, int) else str(every)
        found = re.fullmatch(r"\s*([0-9]+)\s*(step|epoch)s?\s*", text)
        if found and int(found[1]):
            return cls(int(found[1]), found[2])
        chosen = _chosen(text)
        if not chosen:
            raise RecipeError(
                f"every = {every!r}: expected a number of steps or epochs, such as '100 steps' or '1 epoch', or chosen "
                "ones, each once, such as 'steps 0, 1, 40' or 'steps 0, 1 and epochs 2, 70'"
            )
        unit = "step" if "step" in chosen else "epoch"
        return cls(0, unit, *(tuple(sorted(chosen.get(one, ()))) for one in UNITS))

    def __str__(self) -> str:
        """Return the text that `parse` reads.

        Returns:
            Such as `"2 epochs"`.
        """
        if self.count:
            return f"{self.count} {self.unit}{'s' * (self.count > 1)}"
        parts = [(unit, getattr(self, f"{unit}s")) for unit in UNITS]
        return " and ".join(f"{unit}s {', '.join(map(str, moments))}" for unit, moments in parts if moments)

    @property
    def group(self) -> str:
        """The group of the archive for what is measured then."""
        if not self.count:
            return f"chosen_{self.unit}s"
        if self.count == 1:
            return self.unit if self.unit == "epoch" else "every_step"
        return f"every_{self.count}_{self.unit}s"

    def due(self, *, epoch: int | None, step: int) -> bool:
        """Say whether it is time.

        Args:
            epoch: Number of epochs completed, at the end of an epoch (or at the start); None within one.
            step: Number of optimizer steps taken.

        Returns:
            True where the number of epochs or steps is a multiple, or was chosen; where every so many were asked for,
            at the start too. An epoch ends with a step: what is due then by both is due by the step alone.
        """
        if self.count and self.unit == "epoch":
            return epoch is not None and epoch % self.count == 0
        by_step = epoch is None or step == 0
        if self.count:
            return step % self.count == 0 and by_step
        if step in self.steps:
            return by_step
        return epoch in self.epochs


def _chosen(text: str) -> dict[str, list[int]]:
    # empty where it is no list of moments, or names one twice
    found: dict[str, list[int]] = {}
    for part in re.split(r"\s+and\s+", text):
        read = re.fullmatch(_MOMENTS, part)
        moments = [int(number) for number in read[2].split(",")] if read else []
        if not read or read[1] in found or len(set(moments)) < len(moments):
            return {}
        found[read[1]] = moments
    return found
