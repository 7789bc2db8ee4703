"""What the command line prints: tables on standard output, one line for each error or warning on standard error."""

from __future__ import annotations

import inspect
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn, Protocol, TextIO

import click

from reluscope.errors import RecipeError, ReluscopeError, UnknownNameError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from reluscope.lab import Lab
    from reluscope.registry import Plugin
    from reluscope.report.summary import Summary

_WIDTH_OF_A_FILE = 200
"""Columns where standard output is no terminal: wide enough that no row of a listing is cut for grep."""


class Call(Protocol):
    """What an error message needs to know of the call that failed."""

    debug: bool
    archive: Path | None
    loaded: Lab | None


def guarded(work: Callable[[Any], None], session: Call, words: list[str]) -> int:
    """Do some work and turn whatever goes wrong into one line and an exit code.

    Args:
        work: Called with the session.
        session: What the message needs to know.
        words: The words of the command, to say how to resume.

    Returns:
        0 good, 1 the work failed, 2 the words were off.
    """
    with _one_line_warnings():
        try:
            work(session)
            sys.stdout.flush()
        except BrokenPipeError:  # the reader, such as head, has had enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except click.exceptions.Exit as error:  # click's way out after --help and --version
            return error.exit_code
        except (click.Abort, KeyboardInterrupt) as error:
            _traceback(session)
            _stopped(error, session, words)
            return 1
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            return 2
        except click.ClickException as error:
            _traceback(session)
            context = getattr(error, "ctx", None)
            path = context.command_path if context else "reluscope"
            _say(f"reluscope: error: {error.format_message()} (see {path} --help)")
            return 2
        except SystemExit as error:
            return error.code if isinstance(error.code, int) else int(error.code is not None)
        except ReluscopeError as error:
            _traceback(session)
            _say(f"reluscope: error: {error}{_around(error, session)}")
            return 2 if isinstance(error, UnknownNameError | RecipeError) else 1
        except Exception as error:  # the last resort: nobody above would print less than a traceback
            _traceback(session)
            hint = "" if session.debug else "; --debug shows the traceback"
            _say(f"reluscope: error: {type(error).__name__}: {error}{_around(error, session)}{hint}")
            return 1
    return 0


def warning(text: str) -> None:
    """Print one line of warning.

    Args:
        text: What to say.
    """
    _say(f"reluscope: warning: {text}")


@contextmanager
def _one_line_warnings() -> Iterator[None]:
    from reluscope.registry import PluginWarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        warning(str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("always", PluginWarning)
        warnings.showwarning = show
        yield


def _say(text: str) -> None:
    print(plain(" ".join(text.split())), file=sys.stderr)


def _traceback(session: Call) -> None:
    if session.debug:
        traceback.print_exc()


# The error behind an error, where the message does not tell it already.
def _cause(error: BaseException) -> str:
    cause = error.__cause__
    if cause is None or (str(cause) and str(cause) in str(error)):
        return ""
    return f" (caused by {type(cause).__name__}: {cause})"


def _around(error: BaseException, session: Call) -> str:
    notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
    return f"{_cause(error)}{_plugin(error, session)}{notes}"


# The plugin in whose code an error arose, where the message does not name it already.
def _plugin(error: BaseException, session: Call) -> str:
    if session.loaded is None:
        return ""
    deepest: BaseException | None = error
    modules: list[str] = []
    while deepest is not None:
        modules += [str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(deepest.__traceback__)]
        deepest = deepest.__cause__
    for plugin in session.loaded.plugins:
        if plugin.distribution == "reluscope" or f"{plugin.name!r}" in str(error):
            continue
        package = plugin.module.partition(":")[0]
        if any(module == package or module.startswith(f"{package}.") for module in modules):
            return f" [in {plugin_text(plugin)}]"
    return ""


def _stopped(error: BaseException, session: Call, words: list[str]) -> None:
    from reluscope.cli import resume_command

    parts = session.archive.with_name(f"{session.archive.name}.parts") if session.archive else None
    if parts is not None and parts.exists():
        said = str(error).partition(";")[0] or "stopped"
        _say(f"reluscope: {said}; what was recorded is in {parts}; go on with: {resume_command(words)}")
    else:
        _say("reluscope: stopped; nothing was recorded yet, so run the same command again")


def plain(value: Any) -> str:
    """Return text without control characters: names may come from a stranger, and a terminal obeys some of them.

    Args:
        value: Anything.

    Returns:
        Its text, control characters other than the end of a line replaced.
    """
    return "".join(c if c == "\n" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))


def objects(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print one JSON object a line.

    Args:
        rows: The objects.
    """
    for row in rows:
        print(json.dumps(row, default=str))


def lines(texts: Iterable[str]) -> None:
    """Print lines of plain text.

    Args:
        texts: The lines.
    """
    for text in texts:
        print(plain(text))


def listing(rows: list[dict[str, str]]) -> None:
    """Print entries by kind.

    Args:
        rows: Each with kind, name, summary and plugin.
    """
    if not rows:
        lines(["Nothing of this kind is installed."])
        return
    table = _table("kind", "name", "summary", "plugin")
    for row in rows:
        table.add_row(*(plain(row[key]) for key in ("kind", "name", "summary", "plugin")))
    _console().print(table)


def entry(described: dict[str, Any]) -> None:
    """Print everything about one entry.

    Args:
        described: Name of a field to its value; `parameters` and `recipe` are printed last.
    """
    out = _console()
    table = _table("", "", header=False)
    for key, value in described.items():
        if key not in ("parameters", "recipe"):
            table.add_row(key, plain(_field(value)))
    out.print(table)
    if "recipe" in described:
        lines(["", described["recipe"].rstrip()])
    elif described.get("parameters"):
        table = _table("parameter", "default", "type")
        for name, parameter in described["parameters"].items():
            table.add_row(name, plain(parameter["default"]), plain(parameter["type"]))
        out.print(table)
    else:
        lines(["It takes no parameters."])


def _field(value: Any) -> str:
    if isinstance(value, Mapping):
        return "\n".join(f"{name}: {about}" for name, about in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def plugins(rows: list[dict[str, Any]]) -> None:
    """Print the plugins, then the tracebacks of broken ones.

    Args:
        rows: Each with name, version, distribution, module, entries and traceback.
    """
    table = _table("name", "version", "distribution", "module", "entries")
    for row in rows:
        entries = "broken" if row["traceback"] else row["entries"]
        table.add_row(*(plain(row[key]) for key in ("name", "version", "distribution", "module")), str(entries))
    _console().print(table)
    for row in rows:
        if row["traceback"]:
            lines(["", f"{row['name']} ({row['module']}) is broken and left out:", row["traceback"].rstrip()])


def verdicts(rows: list[dict[str, Any]]) -> None:
    """Print verdicts on claims.

    Args:
        rows: Each with claim, verdict, kind, cases, counterexample, source and seconds.
    """
    table = _table("claim", "verdict", "kind", "cases", "counterexample", "source", "seconds")
    for row in rows:
        case = "" if row["counterexample"] is None else json.dumps(row["counterexample"])
        words = (row["claim"], row["verdict"], row["kind"], row["cases"], case, row["source"], f"{row['seconds']:.1f}")
        table.add_row(*map(plain, words))
    _console().print(table)


def summary(found: Summary) -> None:
    """Print where each quantity ended.

    Args:
        found: The table.
    """
    if not found.rows:
        lines(["Nothing was recorded that a table could hold."])
        return
    across = len(found.points) <= 4
    if across:
        table = _table("quantity", *(plain(point.label) for point in found.points))
        for row in found.rows:
            units = "" if row.units in ("", "1") else f" ({row.units})"
            table.add_row(plain(row.title + units), *map(str, row.cells))
    else:
        shown = found.rows[:5]
        table = _table("point of the sweep", *(plain(row.title) for row in shown))
        for place, point in enumerate(found.points):
            table.add_row(plain(point.label), *(str(row.cells[place]) for row in shown))
    _console().print(table)
    if any(cell.runs > 1 for row in found.rows for cell in row.cells):
        lines(["Last values: mean ± standard deviation over the seeds, averaged over sites and units."])


def places(archive: Path, page: Path | None) -> None:
    """Print where the results lie.

    Args:
        archive: The archive.
        page: The HTML page, where one was written.
    """
    lines([f"archive  {archive}", *([f"page     {page}"] if page else [])])


def plugin_text(plugin: Plugin) -> str:
    """Describe a plugin in a few words.

    Args:
        plugin: The plugin.

    Returns:
        Its name, and the distribution and version that bring it.
    """
    origin = " ".join(word for word in (plugin.distribution, plugin.version) if word) or plugin.module
    return f"plugin {plugin.name!r} ({origin})"


def type_text(annotation: Any) -> str:
    """Write a type as a signature does.

    Args:
        annotation: Of a parameter.

    Returns:
        The text.
    """
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _table(*headings: str, header: bool = True) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_header=header, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _console() -> Console:
    from rich.console import Console

    class Quiet(Console):
        """Leaves a broken pipe to the one place that handles it."""

        def on_broken_pipe(self) -> NoReturn:
            raise BrokenPipeError

    out: IO[str] = sys.stdout
    return Quiet(file=out, markup=False, highlight=False, emoji=False, width=None if out.isatty() else _WIDTH_OF_A_FILE)
