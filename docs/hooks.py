"""What the documentation takes from elsewhere: the command line from its parsers, and the pages at the top level.

MkDocs calls the functions that begin with ``on_``.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

TOP = Path(__file__).parents[1]
# Pages that stand at the top level, where a code host shows them, and files that they link to.
PAGES = ("data_README.md", "CONTRIBUTING.md", "CHANGELOG.md")
FILES = ("CITATION.cff", "LICENSE")
COMMANDS_MARK = "<!-- commands -->"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the top level, whose links count from there."""
    from mkdocs.structure.files import File

    for name in (*PAGES, *FILES):
        text = (TOP / name).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=text.replace("](docs/", "](")))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Write the commands into their page, and let links to the top level lead to its pages here."""
    for name in (*PAGES, *FILES):
        markdown = re.sub(rf"\]\((\.\./)+({re.escape(name)})", rf"]({'../' * page.file.src_uri.count('/')}\2", markdown)
    return markdown.replace(COMMANDS_MARK, commands_reference()) if COMMANDS_MARK in markdown else markdown


def commands_reference() -> str:
    """Return a section for each command: what it does, its usage, an example, and its options in groups."""
    from tfcyclegan3d.cli.main import build_parser

    (choices,) = (action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    return "\n".join(_section(name, parser) for name, parser in choices.choices.items())


def _section(name: str, parser: argparse.ArgumentParser) -> str:
    parser.formatter_class = lambda prog: argparse.HelpFormatter(prog, width=100)
    lines = [f"## {name}", "", _cell(parser.description or ""), "", "```text", parser.format_usage().strip(), "```"]
    example = (parser.epilog or "").removeprefix("example: ")
    lines += ["", "```console", f"$ {example}", "```"] if example else []
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.help != argparse.SUPPRESS]
        if actions:
            title = (group.title or "").removeprefix("positional ").capitalize()
            lines += [
                "",
                f"**{title}**",
                "",
                "| option | |" if title != "Arguments" else "| argument | |",
                "| --- | --- |",
            ]
            lines += [f"| {_called(action)} | {_cell(action.help or '')} |" for action in actions]
    return "\n".join([*lines, ""])


def _called(action: argparse.Action) -> str:
    """Return the option with what it takes, as one types it."""
    formatter = argparse.HelpFormatter("")
    value = "" if action.nargs == 0 else formatter._format_args(action, action.dest.upper())
    names = action.option_strings or [""]
    return "<br>".join(f"`{_cell(f'{option} {value}'.strip())}`" for option in names)


def _cell(text: str) -> str:
    """Return text for a cell of a table, in which a bar would end it."""
    return " ".join(text.split()).replace("|", "\\|").replace("%%", "%").replace("<", "&lt;")
