"""What all tests share: how hard hypothesis tries, how many threads torch takes, where the real data are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# "ci" gives the same examples on every machine; "thorough" looks for new ones: HYPOTHESIS_PROFILE=thorough.
settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    max_examples=40,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "thorough",
    deadline=None,
    max_examples=500,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# A distribution of its own: its tests run where it is installed.
collect_ignore_glob = ["third_party/*/*"]


def pytest_configure(config: pytest.Config) -> None:
    """Give each worker its share of the cores; torch reads the variable when it is first imported."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers > 1:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder with the real data; skips where RELUSCOPE_DATA is not set."""
    root = os.environ.get("RELUSCOPE_DATA")
    if not root:
        pytest.skip("RELUSCOPE_DATA is not set: point it at the folder with the real data")
    path = Path(root).resolve()
    if not path.is_dir():
        pytest.fail(f"RELUSCOPE_DATA is {root!r}, expected a folder")
    return path
