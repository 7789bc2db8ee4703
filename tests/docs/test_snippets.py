"""Every Python snippet in the README and the documentation runs, every command exists, every recipe is one."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def pages_with(fence: str) -> list[Path]:
    return [page for page in PAGES if re.search(rf"^`{{3,}}{fence}$", page.read_text(encoding="utf-8"), re.MULTILINE)]


@pytest.mark.parametrize("page", pages_with("python"), ids=lambda page: page.name)
def test_python_snippets_run(page: Path, run_page) -> None:
    run_page(page)


def commands(body: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line and the words of every `reluscope` command in a console block."""
    for offset, line in enumerate(re.sub(r"\\\n", " ", body).splitlines()):
        words = shlex.split(line.removeprefix("$ "), comments=True) if line.startswith("$ ") else []
        if words and Path(words[0]).name == "reluscope":
            yield offset, words[1:]


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


def command_tree() -> click.Group:
    from reluscope import cli

    (tree,) = (value for value in vars(cli).values() if isinstance(value, click.Group))
    return tree


@pytest.mark.parametrize("page", pages_with("console"), ids=lambda page: page.name)
def test_commands_exist(page: Path, blocks) -> None:
    for start, body in blocks(page, "console"):
        for offset, words in commands(body):
            try:
                check_command(command_tree(), words)
            except click.UsageError as error:
                pytest.fail(f"{page.name}:{start + offset}: reluscope {shlex.join(words)}: {error.format_message()}")


def test_every_command_and_option_is_documented() -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    tree = command_tree()
    context = click.Context(tree)
    for name in tree.list_commands(context):
        command = tree.get_command(context, name)
        assert command is not None
        if command.hidden:
            continue
        assert re.search(rf"^## `reluscope {re.escape(name)}", text, re.MULTILINE), (
            f"commands.md has no section on {name}"
        )
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--"):
                    assert option in text, f"commands.md does not mention {option} of {name}"


@pytest.mark.parametrize("page", pages_with("toml"), ids=lambda page: page.name)
def test_whole_recipes_are_valid(page: Path, blocks) -> None:
    import reluscope as rs
    from reluscope import recipe

    for _, body in blocks(page, "toml"):
        table = tomllib.loads(body)
        if "procedure" in table:
            if {choice["name"] for choice in table.get("metrics", [])} - set(rs.Lab().metrics):
                continue  # of a plugin that the page makes, and that its own test installs
            plan = recipe.load(table, lab=rs.Lab())
            assert plan.points


def test_every_key_of_a_recipe_is_documented() -> None:
    import reluscope as rs
    from reluscope import recipe

    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    keys = {*recipe.Recipe.model_fields, *recipe.MetricChoice.model_fields, *recipe.Expected.model_fields}
    keys |= set(rs.Lab().procedures["train"].parameters())
    undocumented = {key for key in keys - {"parameters"} if f"`{key}`" not in text}
    assert not undocumented


def test_a_wrong_snippet_fails(tmp_path: Path, run_page) -> None:
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

    assert list(commands("$ reluscope show x \\\n    --out y\nprinted\n")) == [(0, ["show", "x", "--out", "y"])]
    check_command(group, ["show", "x", "--out", "y"])
    check_command(group, ["--help"])
    for words in (["shoe"], ["show", "x", "--aut", "y"], ["--halp"]):
        with pytest.raises(click.UsageError):
            check_command(group, words)
