"""The command line. Whatever is heavy is imported by the command that needs it."""

from __future__ import annotations

import shlex
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reluscope import __version__, console
from reluscope.command_parts import (
    FILE,
    as_json_option,
    bound,
    fail,
    max_bytes_option,
    must_be_a_file,
    must_exist,
    refuse,
    write_page,
)
from reluscope.errors import UnknownNameError, nearest
from reluscope.verify_command import verify

if TYPE_CHECKING:
    from reluscope.entries import Entry
    from reluscope.lab import Lab


class Session:
    """What the commands of one call share.

    Attributes:
        debug: Whether tracebacks are wanted.
        archive: Where the run that goes on now leaves its archive.
        loaded: The lab, once a command has asked for it.
    """

    def __init__(self) -> None:
        self.debug = False
        self.archive: Path | None = None
        self.loaded: Lab | None = None

    @property
    def lab(self) -> Lab:
        """All entries of the installed plugins."""
        if self.loaded is None:
            from reluscope.lab import Lab

            self.loaded = Lab()
        return self.loaded


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="reluscope")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_obj
def cli(session: Session, debug: bool) -> None:
    """See which linear piece a ReLU network uses on which input, and how training moves the pieces."""
    session.debug = debug


@cli.command("list")
@click.argument("kind", required=False)
@as_json_option
@click.pass_obj
def list_entries(session: Session, kind: str | None, as_json: bool) -> None:
    """List all entries, or those of one KIND such as metrics."""
    from reluscope.entries import KINDS

    kinds = list(KINDS) if kind is None else [_kind(kind)]
    rows = [
        {"kind": name, "name": entry.name, "summary": entry.summary, "plugin": session.lab.origin(name, key).name}
        for name in kinds
        for key, entry in session.lab.shelf(name).items()
    ]
    if as_json:
        console.objects(rows)
    else:
        console.listing(rows)


@cli.command()
@click.argument("name")
@click.option("--kind", help="Which kind, where several have an entry of this name.")
@as_json_option
@click.pass_obj
def show(session: Session, name: str, kind: str | None, as_json: bool) -> None:
    """Show everything about the entry NAME: what it is, its parameters, a recipe's text."""
    plural, entry = _find(session.lab, name, kind)
    described = _described(entry)
    described["plugin"] = console.plugin_text(session.lab.origin(plural, name))
    if as_json:
        console.objects([described])
    else:
        console.entry(described)


@cli.command()
@as_json_option
@click.pass_obj
def plugins(session: Session, as_json: bool) -> None:
    """List the plugins, and say why broken ones do not work."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a broken plugin is shown in full below
        lab = session.lab
    rows = [
        {
            "name": plugin.name,
            "version": plugin.version,
            "distribution": plugin.distribution,
            "module": plugin.module,
            "entries": sum(origin is plugin for origin in lab.registry.origin.values()),
            "traceback": plugin.traceback,
        }
        for plugin in lab.plugins
    ]
    if as_json:
        console.objects(rows)
    else:
        console.plugins(rows)


@cli.command()
@click.argument("recipe", required=False)
@click.option("--scale", help="Which scale of the recipe to run, such as small or paper.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Replace a key of the recipe; may repeat.")
@click.option("--out", type=FILE, help="Where the archive goes.  [default: results/NAME.nc]")
@click.option("--resume", is_flag=True, help="Go on with a run that was stopped.")
@click.option("--from-archive", "source", type=FILE, help="Repeat the run that left this archive.")
@max_bytes_option
@click.option("--report/--no-report", default=True, help="Write the HTML page beside the archive.", show_default=True)
@as_json_option
@click.pass_obj
def run(
    session: Session,
    recipe: str | None,
    scale: str | None,
    overrides: tuple[str, ...],
    out: Path | None,
    resume: bool,
    source: Path | None,
    max_bytes: int | None,
    report: bool,
    as_json: bool,
) -> None:
    """Run RECIPE: the name of an experiment, or the path of a TOML file."""
    if (recipe is None) == (source is None):
        refuse("expected either RECIPE or --from-archive FILE; give one of them")
    if source is not None and (scale is not None or overrides):
        refuse("--from-archive repeats a run as it was; leave out --scale and --set")
    if source is None and max_bytes is not None:
        refuse("--max-bytes is for --from-archive, expected both; leave it out")
    if source is not None:
        must_exist(source)
    if out is None:
        stem = Path(recipe).stem if recipe is not None else f"{Path(str(source)).stem}_again"
        out = Path("results") / f"{stem}.nc"
    must_be_a_file(out)
    if source is not None and out.resolve() == source.resolve():
        refuse(f"--out {out} is the archive to repeat itself; choose another")
    lab = session.lab
    if recipe is not None:
        from reluscope import recipe as recipes

        recipes.load(recipe, lab=lab, scale=scale, overrides=overrides)  # wrong words: before any folder is made
    session.archive = out
    from reluscope import runner
    from reluscope.progress import BarProgress

    progress = BarProgress()
    try:
        if recipe is not None:
            tree = runner.run(
                recipe, scale=scale, overrides=overrides, out=out, resume=resume, lab=lab, progress=progress
            )
        else:
            tree = runner.run_from_archive(
                str(source), out=out, resume=resume, lab=lab, progress=progress, **bound(max_bytes)
            )
    finally:
        progress.finish()
    session.archive = None
    page = write_page(tree, out.with_suffix(".html")) if report else None
    from reluscope.report.summary import summarise

    summary = summarise(tree)
    if as_json:
        places = {"archive": str(out), "report": str(page) if page else None}
        console.objects([places | record for record in summary.records()])
    else:
        console.summary(summary)
        console.places(out, page)
    from reluscope.report.reading import failures as find_failures

    failures = find_failures(tree)
    for label, reason in failures.items():
        console.warning(f"{label}: {reason}")
    if failures:
        fail(f"{len(failures)} of the runs failed, the others are in {out}; see the warnings above for what to change")


@cli.command()
@click.argument("archive", type=FILE)
@click.option("--out", type=FILE, help="Where the page goes.  [default: beside the archive, .html]")
@max_bytes_option
def report(archive: Path, out: Path | None, max_bytes: int | None) -> None:
    """Draw ARCHIVE as one self-contained HTML page, also that of a run that was killed or still runs."""
    must_exist(archive)
    from reluscope.opening import open_archive

    if out is None:
        name = archive.name.removesuffix(".parts")
        out = archive.with_name(name).with_suffix(".html")
    must_be_a_file(out)
    if out.resolve() == archive.resolve():
        refuse(f"--out {out} is the archive itself; choose another")
    console.places(archive, write_page(open_archive(archive, **bound(max_bytes)), out))


@cli.command("verify-archive")
@click.argument("file", type=FILE)
@max_bytes_option
@as_json_option
def verify_archive(file: Path, max_bytes: int | None, as_json: bool) -> None:
    """See whether the data in FILE are still those that were written."""
    must_exist(file)
    from reluscope import opening

    changed = opening.verify_archive(file, **bound(max_bytes))
    if as_json:
        console.objects([{"archive": str(file), "intact": not changed, "changed": changed}])
    else:
        console.lines([f"{file}: {name} does not match its checksum" for name in changed] or [f"{file}: intact"])
    if changed:
        fail(f"{file}: {len(changed)} variables are not as they were written; take another copy, or repeat the run")


cli.add_command(verify)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 good, 1 the work failed, 2 the words were off.

    Args:
        arguments: The words after `reluscope`; None takes those of the process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(console.guarded(lambda session: _call(session, words), Session(), words))


def _call(session: Session, words: list[str]) -> None:
    # not through click's main, which takes the end of a cut file for Ctrl-D
    with cli.make_context("reluscope", words, obj=session) as context:
        cli.invoke(context)


def _kind(word: str) -> str:
    from reluscope.entries import KINDS

    singular = {entry_type.kind: plural for plural, entry_type in KINDS.items()}
    word = word.replace("-", "_")
    if word not in KINDS and word not in singular:
        raise UnknownNameError(f"unknown kind {word!r}. {nearest(word, KINDS)}")
    return singular.get(word, word)


def _find(lab: Lab, name: str, kind: str | None) -> tuple[str, Entry]:
    from reluscope.entries import KINDS

    if kind is not None:
        plural = _kind(kind)
        return plural, lab.shelf(plural)[name]
    found = [plural for plural in KINDS if name in lab.shelf(plural)]
    if not found:
        raise UnknownNameError(
            f"unknown entry {name!r}. {nearest(name, {known for plural in KINDS for known in lab.shelf(plural)})}"
        )
    if len(found) > 1:
        refuse(
            f"{name!r} is the name of several entries, expected one: say which with "
            + " or ".join(f"--kind {plural}" for plural in found)
        )
    return found[0], lab.shelf(found[0])[name]


def _described(entry: Entry) -> dict[str, Any]:
    import dataclasses

    from reluscope.entries import Claim, Experiment

    hidden = {"definition", "strategy", "predicate", "sample", "value", "bounds", "picture", "params", "path"}
    if isinstance(entry, Claim) and not entry.statistical:
        hidden |= {"relation", "effect"}
    fields = {field.name: getattr(entry, field.name) for field in dataclasses.fields(entry) if field.name not in hidden}
    described: dict[str, Any] = {"kind": entry.kind} | {
        key: _plain(value) for key, value in fields.items() if value not in (None, "", (), frozenset(), {})
    }
    if isinstance(entry, Experiment):
        described["recipe"] = entry.path.read_text(encoding="utf-8")
        return described
    described["parameters"] = {
        name: {
            "default": "required" if parameter.default is parameter.empty else repr(parameter.default),
            "type": "" if parameter.annotation is parameter.empty else console.type_text(parameter.annotation),
        }
        for name, parameter in entry.parameters().items()
    }
    return described


def _plain(value: Any) -> Any:
    from reluscope.entries import Entry

    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, type):
        return f"{value.__module__}:{value.__qualname__}"
    if isinstance(value, tuple):
        return [part.name if isinstance(part, Entry) else part for part in value]
    return value


def resume_command(words: list[str]) -> str:
    """Write the command that goes on with a run that was stopped.

    Args:
        words: The words of the command that started it.

    Returns:
        The command, quoted for a shell.
    """
    return shlex.join(["reluscope", *words, *([] if "--resume" in words else ["--resume"])])
