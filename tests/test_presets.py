"""The table of presets says what the presets are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import tensorflow as tf

from tfcyclegan3d import errors, presets
from tfcyclegan3d.training.networks import generator_of

DOCS = Path(__file__).parents[1] / "docs" / "presets.md"
COLUMNS = ("paper", "authors", "fast")


def table(n_columns=7):
    """The cells of each row of a table by the setting's name; a row that is none of a setting is left out."""
    rows = [[cell.strip() for cell in line.strip("| \n").split(" | ")] for line in DOCS.read_text().splitlines()]
    named = [(re.fullmatch(r"`([a-z_0-9.]+)`", row[0]), row) for row in rows if len(row) == n_columns]
    found = [(match[1], row[1:]) for match, row in named if match]
    assert len(dict(found)) == len(found), "a setting stands in the table twice"
    return dict(found)


def settings_of(preset):
    """Every setting of a preset by its dotted name."""

    def flat(document, prefix=""):
        for key, value in document.items():
            nested = isinstance(value, dict)
            yield from flat(value, f"{prefix}{key}.") if nested else [(f"{prefix}{key}", value)]

    document = presets.by_name(preset).to_dict()
    del document["preset"]
    return dict(flat(document))


def test_the_table_has_a_column_for_every_preset_and_a_row_for_every_setting():
    assert {*COLUMNS, "best"} == set(presets.PRESETS)
    assert re.search(r"^\| setting \| `paper` \| `authors` \| \| `fast` \|", DOCS.read_text(), re.MULTILINE)
    assert set(table()) == set(settings_of("paper"))


@pytest.mark.parametrize(("column", "preset"), [(0, "paper"), (1, "authors"), (3, "fast")])
def test_the_table_holds_the_values_of_the_presets(column, preset):
    written = {key: json.loads(cells[column].strip("`")) for key, cells in table().items()}
    assert written == settings_of(preset)


def test_the_table_marks_where_the_published_code_and_the_paper_differ_and_says_where_each_value_is_from():
    paper, authors = settings_of("paper"), settings_of("authors")
    marked = {key for key, cells in table().items() if cells[2] == "≠"}
    assert marked == {key for key, value in paper.items() if value != authors[key]}
    assert marked >= {"model.residual", "model.output_normalization", "training.generator_update"}
    assert all(len(cells) == 6 and cells[4] and cells[5] for cells in table().values())


@pytest.mark.parametrize(("gpus", "name"), [([], "fast"), (["a GPU"], "best")])
def test_without_a_choice_a_gpu_is_given_best(gpus, name, monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus if kind == "GPU" else ["a CPU"])
    assert presets.for_this_machine() == presets.by_name(name)


def test_a_second_table_holds_every_value_of_best_that_is_not_one_of_fast():
    fast, best = settings_of("fast"), settings_of("best")
    written = {key: tuple(json.loads(cell.strip("`")) for cell in cells[:2]) for key, cells in table(4).items()}
    assert written == {key: (fast[key], value) for key, value in best.items() if value != fast[key]}


@pytest.mark.parametrize(
    ("column", "preset", "method"),
    [
        (0, "paper", "unet"),
        (1, "fast", "unet"),
        (2, "authors", "vox2vox"),
        (3, "best", "vox2vox"),
        (1, "best", "two-stage"),
    ],
)
def test_a_third_table_holds_what_a_method_changes(column, preset, method):
    before = settings_of(preset)
    after = presets.with_method(presets.by_name(preset), method).to_dict()
    own = {key: after[key.split(".")[0]][key.split(".")[1]] for key in before if key.count(".") == 1}
    written = {key: cells[column].strip("`") for key, cells in table(6).items()}
    written = {key: json.loads(cell) for key, cell in written.items() if cell}
    assert {key: own[key] for key in written} == written
    assert {key for key, value in own.items() if value != before[key]} <= set(written)


@pytest.mark.parametrize("method", ["cyclegan", "two-stage", "vox2vox"])
def test_settings_of_a_method_are_not_taken_for_another_one(method):
    of_unet = presets.with_method(presets.fast(), "unet")
    with pytest.raises(errors.OptionError, match=f"--method: received '{method}'; leave it out: .* of unet"):
        presets.with_method(of_unet, method)
    assert presets.with_method(of_unet, "unet") == of_unet
    assert presets.with_method(presets.fast(), method).method == method


@pytest.mark.parametrize(("preset", "n_parameters"), [("paper", 8_567_362), ("authors", 26_483_270)])
def test_the_presets_generators_are_as_large_as_the_table_says(preset, n_parameters):
    model = generator_of(presets.by_name(preset).model, 2, "float32", 0, "image_to_mask")
    assert model.count_params() == n_parameters
    assert f"{n_parameters / 1e6:.1f} million" in DOCS.read_text()
