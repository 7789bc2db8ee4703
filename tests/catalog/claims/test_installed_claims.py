"""Every installed claim, of any plugin, has the verdict that its entry records, and its counterexample replays."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from reluscope.entries import Claim
from reluscope.lab import Lab
from reluscope.testing import check_claim
from reluscope.verification import judge


def test_installed_claim(installed_claim: Claim) -> None:
    check_claim(installed_claim, examples=60)


def test_what_is_amended_is_refuted(installed_claim: Claim, lab: Lab) -> None:
    if installed_claim.amends:
        assert lab.claims[installed_claim.amends].verdict == "refuted"
        assert installed_claim.verdict == "holds"


@pytest.mark.slow
@pytest.mark.parametrize("name", [claim.name for claim in Lab().claims.values() if claim.verdict == "refuted"])
def test_a_counterexample_replays_in_a_fresh_process(name: str, lab: Lab) -> None:
    """By the command, as anybody would who was given the line that `--json` prints."""
    case = judge(lab.claims[name]).counterexample
    command = [
        sys.executable,
        "-m",
        "reluscope",
        "verify",
        name,
        "--json",
        "--replay",
        json.dumps(case),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert (row["verdict"], row["counterexample"], row["cases"]) == ("refuted", case, 1)
