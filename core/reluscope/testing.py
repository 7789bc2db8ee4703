"""The plugin author's kit: law checks for metrics, hypothesis strategies, and a pytest plugin.

pytest imports this module in every session on the machine, so nothing heavy is imported before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Offer the fixture `lab`.

    Args:
        config: The session's configuration.
    """
    import pytest

    class Fixtures:
        @pytest.fixture(scope="session")
        def lab(self) -> Any:
            """All installed entries."""
            from reluscope.lab import Lab

            return Lab()

    config.pluginmanager.register(Fixtures(), "reluscope-fixtures")
