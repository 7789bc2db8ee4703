"""The search does not depend on what else is loaded, and says so where it can no longer see to that."""

from __future__ import annotations

import importlib
import subprocess
import sys
import types
from pathlib import Path

import pytest
from hypothesis import strategies as st

from reluscope.counterexample_search import search
from reluscope.errors import ReproducibilityWarning

PROVIDERS = importlib.import_module("hypothesis.internal.conjecture.providers")
CASES = st.fixed_dictionaries({"n": st.integers(0, 10**6)})


CODE = """
import contextlib, sys
from hypothesis import strategies as st
from reluscope import counterexample_search
sys.path.insert(0, sys.argv[1])
if "full" in sys.argv:
    import full_of_numbers
if "bare" in sys.argv:
    counterexample_search._no_constants_of_modules = contextlib.nullcontext
found = []
cases = st.fixed_dictionaries({"n": st.integers(0, 10**6)})
counterexample_search.search("a", cases, lambda case: found.append(case["n"]) or True, examples=300, seed=1)
print(found)
"""


def drawn(tmp_path: Path, *words: str) -> list[int]:
    (tmp_path / "full_of_numbers.py").write_text(f"NUMBERS = {list(range(100_000, 100_400))}\n", encoding="utf-8")
    command = [sys.executable, "-c", CODE, str(tmp_path), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [int(number) for number in done.stdout.strip("[]\n").split(",")]


def test_cases_do_not_depend_on_what_else_is_loaded(tmp_path: Path) -> None:
    """Hypothesis likes the numbers that stand in the code of loaded modules; the verifier does not let it."""
    alone = drawn(tmp_path)
    assert len(alone) == 300
    assert drawn(tmp_path, "full") == alone


def test_without_care_cases_would_depend_on_it(tmp_path: Path) -> None:
    """So that the test above tells something."""
    assert drawn(tmp_path, "full", "bare") != drawn(tmp_path, "bare")


def test_what_was_changed_in_hypothesis_is_put_back() -> None:
    before = dict(vars(PROVIDERS.HypothesisProvider))
    search("a", CASES, lambda case: case["n"] < 10, examples=50, seed=0)
    assert dict(vars(PROVIDERS.HypothesisProvider)) == before


@pytest.mark.parametrize("name", ["HypothesisProvider", "CONSTANTS_CACHE", "Constants"])
def test_another_hypothesis_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its inner names are gone, a warning says what that means; the search goes on."""

    class Other:
        """Stands for hypothesis's module, with one name gone."""

        def __getattr__(self, wanted: str) -> object:
            if wanted == name:
                raise AttributeError(wanted)
            return getattr(PROVIDERS, wanted)

    changed = types.SimpleNamespace(import_module=lambda _: Other())
    monkeypatch.setattr("reluscope.counterexample_search.importlib", changed)
    with pytest.warns(ReproducibilityWarning, match="hypothesis has changed inside"):
        found = search("a", CASES, lambda case: case["n"] < 17, examples=200, seed=0)
    assert found.counterexample == {"n": 17}


def test_a_hypothesis_without_the_constants_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(PROVIDERS.HypothesisProvider, "_local_constants")
    monkeypatch.setattr(PROVIDERS.HypothesisProvider, "_maybe_draw_constant", lambda *words, **more: None)
    with pytest.warns(ReproducibilityWarning, match="KeyError: '_local_constants'"):
        search("a", CASES, lambda case: True, examples=20, seed=0)
