"""The documentation speaks of what is there: every public name, every option, every page, every link of the README."""

import argparse
import configparser
import importlib.util
import re
from pathlib import Path

import pytest
import yaml

import tfcyclegan3d
from tfcyclegan3d.cli.main import COMMANDS, build_parser

TOP = Path(__file__).parents[1]
DOCS = TOP / "docs"


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_python_reference_has_every_public_name_once():
    page = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    named = re.findall(r"^::: tfcyclegan3d\.(\w+)$", page, re.MULTILINE)
    written_about = {name for name in ("NUCLEI", "NUCLEI_AND_GOLGI", "__version__") if f"{name}`" in page}
    assert sorted([*named, *written_about]) == sorted(tfcyclegan3d.__all__)


def test_the_reference_of_the_command_line_has_every_command_and_option(hooks):
    text = hooks.commands_reference()
    sections = dict(part.split("\n", 1) for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:])
    assert tuple(sections) == COMMANDS
    (choices,) = (one.choices for one in build_parser()._actions if isinstance(one, argparse._SubParsersAction))
    for name, parser in choices.items():
        for action in parser._actions:
            for option in action.option_strings:
                assert f"`{option}" in sections[name], (name, option)
            if action.help and not action.option_strings:
                assert hooks._cell(action.help) in sections[name]


def pages_of(entries):
    for entry in entries:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            yield from pages_of(value) if isinstance(value, list) else [value]


def test_every_page_stands_in_the_navigation(hooks):
    settings = yaml.safe_load((TOP / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = [*pages_of(settings["nav"])]
    there = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    assert len(listed) == len(set(listed))
    assert set(listed) == there | set(hooks.PAGES)


def heading_ids(path):
    titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize(
    "page", [TOP / "README.md", TOP / "CONTRIBUTING.md", TOP / "data_README.md", *sorted(DOCS.rglob("*.md"))], ids=str
)
def test_links_lead_somewhere_on_a_code_host_too(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http:", "https:")):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), target
        assert not anchor or path.suffix != ".md" or anchor in heading_ids(path), target


def test_the_version_stands_in_one_place():
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(TOP / "setup.cfg", encoding="utf-8")
    assert setup["metadata"]["version"] == "attr: tfcyclegan3d.version.__version__"
    cited = yaml.safe_load((TOP / "CITATION.cff").read_text(encoding="utf-8"))["version"]
    assert cited == tfcyclegan3d.__version__
    text = (TOP / "tfcyclegan3d" / "__init__.py").read_text(encoding="utf-8")
    assert not re.search(r"__version__ = ", text)
