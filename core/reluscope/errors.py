"""What can go wrong, said so that a person knows what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ReluscopeError(Exception):
    """Base of every error that reluscope raises on purpose.

    The message says what was got, what was expected and what to do; the command line prints it in one line.
    """


class UnknownNameError(ReluscopeError, KeyError):
    """A name that nothing answers to."""

    __str__ = Exception.__str__  # KeyError would print the message in quotes


class PluginError(ReluscopeError):
    """A plugin that clashes with another, or breaks a promise of its kind."""


class ObservationError(ReluscopeError, ValueError):
    """A model or an input that cannot be observed."""


class NotFiniteError(ObservationError):
    """A model or an input that holds NaN or infinity, or comes to it."""


class QuantizationError(ReluscopeError, ValueError):
    """A model that cannot run in a number system as asked, or does not run in one."""


class SchemaError(ReluscopeError, ValueError):
    """A data set that is not labelled as the schema demands."""


class ArchiveError(ReluscopeError, OSError):
    """An archive that cannot be read, written or trusted."""


class RecipeError(ReluscopeError, ValueError):
    """A recipe with a wrong, missing or superfluous key."""


class ClaimError(ReluscopeError):
    """A claim that cannot be put to the test: its strategy or its predicate is off, or a case does not fit."""


class ReproducibilityWarning(UserWarning):
    """A run goes on where it will not come out equal bit for bit, such as with another torch."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name comes closest to a wrong one.

    Args:
        name: What was got.
        known: The names that exist.

    Returns:
        A sentence to append to an error: `"Did you mean 'mlp'?"`, or the whole list where nothing is near.

    Example:
        >>> nearest("mpl", ["mlp", "small_cnn"])
        "Did you mean 'mlp'?"
        >>> nearest("zzz", ["mlp", "small_cnn"])
        "Known: 'mlp', 'small_cnn'."
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Known: {', '.join(map(repr, names))}." if names else "Nothing of this kind is installed."
