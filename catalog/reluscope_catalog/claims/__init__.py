"""Claims of the sources: a theorem, lemma, bound or identity each, as the source states it, and what amends it.

The module `NAME_claims.py` declares the claims of a source in its list `CLAIMS`, and imports nothing heavy; `NAME.py`
beside it holds their strategies and predicates.
"""

from __future__ import annotations

import importlib
import pkgutil

from reluscope.entries import Claim


def declared() -> list[Claim]:
    """Collect the claims of all sources.

    Returns:
        Their entries, in the order of the modules' names.
    """
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name.endswith("_claims"))
    return [claim for name in names for claim in importlib.import_module(f"{__name__}.{name}").CLAIMS]
