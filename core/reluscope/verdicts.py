"""Verdicts on claims, as records and as labelled data."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr

    from reluscope.counterexample_search import Case
    from reluscope.entries import Claim
    from reluscope.sequential_testing import Decision

GROUP = "claims"
"""The group of an archive that holds verdicts."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What was found out about a claim.

    Attributes:
        claim: The claim.
        verdict: `"holds"`, `"refuted"`, `"undecided"`, or `"error"` where it could not be put to the test.
        cases: Number of different cases tried, up to the first against it.
        counterexample: The smallest case against it; None where there is none.
        seconds: How long it took.
        seed: Of the cases and observations.
        tested: The least certain test of a statistical claim; None for an exact one.
        problem: What went wrong; empty where nothing did.
        picture: The counterexample as SVG; empty where there is nothing to draw.
    """

    claim: Claim
    verdict: str
    cases: int
    counterexample: Case | None
    seconds: float
    seed: int
    tested: Decision | None = None
    problem: str = ""
    picture: str = ""

    @property
    def as_recorded(self) -> bool:
        """Whether the verdict is the one that the claim's entry records."""
        return self.verdict == self.claim.verdict

    def record(self) -> dict[str, Any]:
        """Return everything but the picture as plain types.

        Returns:
            Name to value.
        """
        claim, tested = self.claim, self.tested
        return {
            "claim": claim.name,
            "verdict": self.verdict,
            "kind": "statistical" if claim.statistical else "exact",
            "cases": self.cases,
            "counterexample": None if self.counterexample is None else dict(self.counterexample),
            "statement": claim.statement,
            "source": claim.source,
            "assumption": claim.assumption,
            "amends": claim.amends,
            "recorded": claim.verdict,
            "seconds": round(self.seconds, 3),
            "seed": self.seed,
            "null": tested.null if tested else "",
            "test": tested.test if tested else "",
            "error_probability": tested.error if tested else None,
            "power": tested.power if tested and math.isfinite(tested.power) else None,
            "observations": tested.observations if tested else 0,
            "problem": self.problem,
        }


_LABELS = {
    "verdict": ("verdict", "1"),
    "kind": ("exact or statistical", "1"),
    "cases": ("cases tried", "1"),
    "counterexample": ("smallest case against the claim, in JSON", "1"),
    "statement": ("statement", "1"),
    "source": ("source", "1"),
    "assumption": ("assumption", "1"),
    "amends": ("claim that is amended", "1"),
    "recorded": ("verdict that the catalogue records", "1"),
    "seconds": ("time taken", "s"),
    "case_seed": ("seed of the cases and observations", "1"),
    "null": ("null hypothesis", "1"),
    "test": ("statistical test", "1"),
    "error_probability": ("error probability", "1"),
    "power": ("power against the least effect worth finding", "1"),
    "observations": ("observations of the least certain case", "1"),
    "problem": ("why there is no verdict", "1"),
    "picture": ("counterexample drawn, as SVG", "1"),
}


def labelled(verdict: Verdict) -> xr.Dataset:
    """Label a verdict.

    Args:
        verdict: The verdict.

    Returns:
        One scalar for each field of its record, with the label `claim`; text is empty and a number NaN where there is
        none.
    """
    import numpy as np
    import xarray as xr

    record = verdict.record() | {"picture": verdict.picture}
    record["case_seed"] = record.pop("seed")  # which is the name of a dim
    case = record["counterexample"]
    record["counterexample"] = "" if case is None else json.dumps(case)
    for key in ("error_probability", "power"):
        record[key] = math.nan if record[key] is None else record[key]
    return xr.Dataset(
        {
            name: ((), np.asarray(record[name]), {"long_name": title, "units": units})
            for name, (title, units) in _LABELS.items()
        },
        {"claim": ((), np.asarray(record["claim"]), {"long_name": "claim", "units": "1"})},
    )


def record(data: xr.Dataset) -> dict[str, Any]:
    """Read a labelled verdict back.

    Args:
        data: What `labelled` gave.

    Returns:
        The record of the verdict.
    """
    found = {name: data[name].item() for name in ("claim", *_LABELS) if name != "picture"}
    found["seed"] = found.pop("case_seed")
    found["counterexample"] = json.loads(found["counterexample"]) if found["counterexample"] else None
    for key in ("error_probability", "power"):
        found[key] = None if math.isnan(found[key]) else found[key]
    return found
