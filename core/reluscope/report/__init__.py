"""The report: one self-contained HTML page for any archive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reluscope.report.page import render as render

__all__ = ["render"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'reluscope.report' has no attribute {name!r}")
    from reluscope.report import page

    return getattr(page, name)
