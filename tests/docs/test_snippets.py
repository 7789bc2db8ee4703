"""Every Python snippet in the README and the documentation runs, and every command in them exists."""

from __future__ import annotations

import re
import shlex
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^(?P<fence>`{3,}|:{3,})(?P<info>[^\n]*)\n(?P<body>.*?)^(?P=fence)[ \t]*$", re.MULTILINE | re.DOTALL)
LANGUAGES = {"python": "python", "{code-block} python": "python", "console": "console", "{code-block} console": "console"}


def blocks(page: Path, language: str) -> Iterator[tuple[int, str]]:
    """Yield each fenced block of one language with the number of the line it starts on."""
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        if LANGUAGES.get(match["info"].strip()) == language:
            yield text.count("\n", 0, match.start("body")) + 1, match["body"]


def with_language(language: str) -> list[Path]:
    return [page for page in PAGES if any(blocks(page, language))]


def run_page(page: Path) -> None:
    """Run a page's Python blocks in their order, as one module."""
    module = types.ModuleType(f"snippets_of_{page.stem.lower()}")
    sys.modules[module.__name__] = module
    try:
        for line, body in blocks(page, "python"):
            # Blank lines in front, so that a traceback shows the page's own line.
            exec(compile("\n" * (line - 1) + body, str(page), "exec"), module.__dict__)
    finally:
        del sys.modules[module.__name__]


@pytest.mark.parametrize("page", with_language("python"), ids=lambda page: page.name)
def test_python_snippets_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        run_page(page)


def commands(page: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the words of every `reluscope` command in a page's console blocks."""
    for start, body in blocks(page, "console"):
        for offset, line in enumerate(re.sub(r"\\\n", " ", body).splitlines()):
            words = shlex.split(line.removeprefix("$ "), comments=True) if line.startswith("$ ") else []
            if words and Path(words[0]).name == "reluscope":
                yield start + offset, words[1:]


def check_command(group: click.Command, words: list[str]) -> None:
    """See to it that the command and all its options exist; raises click's UsageError where one does not."""
    context = click.Context(group, info_name="reluscope")
    while isinstance(group, click.Group):
        known = {option for parameter in group.get_params(context) for option in parameter.opts}
        while words and words[0].startswith("-"):
            if words[0] not in known:
                raise click.NoSuchOption(words[0], ctx=context)
            words = words[1:]
        if not words:
            return
        command = group.get_command(context, words[0])
        if command is None:
            raise click.UsageError(f"no such command: {words[0]}", ctx=context)
        context = click.Context(command, info_name=words[0], parent=context)
        group, words = command, words[1:]
    group.make_parser(context).parse_args(list(words))


@pytest.mark.parametrize("page", with_language("console"), ids=lambda page: page.name)
def test_commands_exist(page: Path) -> None:
    from reluscope import cli

    for line, words in commands(page):
        try:
            check_command(cli.commands, words)
        except click.UsageError as error:
            pytest.fail(f"{page.name}:{line}: reluscope {shlex.join(words)}: {error.format_message()}")


def test_a_wrong_snippet_fails(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```python\nx = 1\n```\n\nText.\n\n```python\nassert x == 2\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError) as caught:
        run_page(page)
    assert caught.traceback[-1].lineno + 1 == 10


def test_a_wrong_command_fails() -> None:
    @click.group()
    def group() -> None: ...

    @group.command()
    @click.argument("name")
    @click.option("--out")
    def show(name: str, out: str) -> None: ...

    check_command(group, ["show", "x", "--out", "y"])
    check_command(group, ["--help"])
    for words in (["shoe"], ["show", "x", "--aut", "y"], ["--halp"]):
        with pytest.raises(click.UsageError):
            check_command(group, words)
