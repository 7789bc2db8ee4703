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

REPLAY = """
import json, sys
import reluscope as rs
from reluscope.verification import judge
claims = rs.Lab().claims
cases = json.load(sys.stdin)
print(json.dumps({name: judge(claims[name], case=case).verdict for name, case in cases.items()}))
"""


def test_installed_claim(installed_claim: Claim) -> None:
    check_claim(installed_claim, examples=60)


def test_what_is_amended_is_refuted(installed_claim: Claim, lab: Lab) -> None:
    if installed_claim.amends:
        assert lab.claims[installed_claim.amends].verdict == "refuted"
        assert installed_claim.verdict == "holds"


@pytest.mark.slow
def test_counterexamples_replay_in_a_fresh_process(lab: Lab) -> None:
    refuted = [claim for claim in lab.claims.values() if claim.verdict == "refuted"]
    cases = {claim.name: judge(claim).counterexample for claim in refuted}
    done = subprocess.run(
        [sys.executable, "-c", REPLAY], input=json.dumps(cases), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == dict.fromkeys(cases, "refuted")
