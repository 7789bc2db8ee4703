"""Every installed claim, of any plugin, has the verdict that its entry records."""

from __future__ import annotations

from reluscope.entries import Claim
from reluscope.testing import check_claim


def test_installed_claim(installed_claim: Claim) -> None:
    check_claim(installed_claim, examples=60)


def test_what_is_amended_is_refuted(installed_claim: Claim, lab) -> None:
    if installed_claim.amends:
        assert lab.claims[installed_claim.amends].verdict == "refuted"
        assert installed_claim.verdict == "holds"
