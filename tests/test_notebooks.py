"""The notebooks as they are committed; running them is ``.ci/run``'s part."""

from __future__ import annotations

import ast
import base64
import re
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MOST_BYTES = 700 * 1024
LENGTH = "TFCYCLEGAN3D_NOTEBOOK_MINUTES"
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def _code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _tree(cell):
    return ast.parse(re.sub(r"^%.*", "", cell.source, flags=re.MULTILINE))  # Lines of IPython's own are no Python.


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return nbformat.read(path, as_version=4)


def test_there_are_seven_of_them_and_the_index_links_to_each():
    assert [path.stem[:2] for path in NOTEBOOKS] == [f"{number:02d}" for number in range(1, 8)]
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\((\w+\.ipynb)\)", index)) == {path.name for path in NOTEBOOKS}


def test_each_is_valid_and_small(path, notebook):
    nbformat.validate(notebook)
    assert path.stat().st_size < MOST_BYTES


def test_the_first_cell_says_what_it_shows_how_long_it_takes_and_what_it_ran_on(notebook):
    first = notebook.cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    assert "**What it shows.**" in first.source
    duration = first.source.partition("**How long it takes.**")[2].partition("\n\n")[0]
    assert re.search(r"\d.*(second|minute)", duration)
    assert re.search(r"\*\*What it ran on\.\*\* .*core.*\d", first.source)
    assert "{{" not in first.source


def test_its_parameters_come_first_and_take_their_length_from_the_environment(notebook):
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    assert tagged == _code(notebook)[:1]
    assert LENGTH in tagged[0].source


def test_it_defines_nothing(notebook):
    for cell in _code(notebook):
        defined = [node for node in ast.walk(_tree(cell)) if isinstance(node, DEFINITIONS)]
        assert not defined, cell.source


def test_it_calls_public_names_only(notebook):
    for cell in _code(notebook):
        nodes = list(ast.walk(_tree(cell)))
        names = [node.attr for node in nodes if isinstance(node, ast.Attribute)]
        names += [alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names]
        assert not [name for name in names if name.startswith("_")], cell.source


def test_it_was_run_from_top_to_bottom_without_an_error(notebook):
    cells = _code(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert any("image/png" in output.get("data", {}) for output in outputs)


def test_its_pictures_are_no_wider_than_a_page_needs(notebook):
    for cell in _code(notebook):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                png = base64.b64decode(output.data["image/png"])
                assert int.from_bytes(png[16:20]) <= 1700


def test_it_names_no_place_of_the_machine_it_ran_on(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"/(work|home|root|tmp)/|\.\./shared", text)


def test_its_links_lead_somewhere(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)#:]+)\)", cell.source):
                assert (FOLDER / target).exists(), target
