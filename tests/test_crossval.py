"""A cross-validation compares every method alike, lets no truth reach what learns without one, and can be resumed."""

from __future__ import annotations

import csv
import dataclasses
import json
import logging
import shutil

import numpy as np
import pytest

from tests.tiny import TINY
from tfcyclegan3d import errors, presets
from tfcyclegan3d.cli import main as command_line
from tfcyclegan3d.experiments import comparison_demo, comparison_folder, cross_validation, methods
from tfcyclegan3d.experiments.comparison_folder import Place
from tfcyclegan3d.experiments.cross_validation import cross_validate
from tfcyclegan3d.experiments.data_layout import plain_layout
from tfcyclegan3d.experiments.folds import nested_folds
from tfcyclegan3d.quiet_tensorflow import many_networks
from tfcyclegan3d.synthesis.simulation import simulate_stack
from tfcyclegan3d.volumes import Volume, read_volume, write_volume

SHAPE = (16, 48, 48)
# Settings of every method, so that a training takes seconds.
SMALL = {
    "model.filters": 4,
    "training.epochs": 1,
    "training.steps_per_epoch": 2,
    "supervised.levels": 2,
    "preprocessing.downsampling": [1, 1, 1],
}


@pytest.fixture(scope="module")
def stacks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stacks")
    for i in range(3):
        made = simulate_stack(SHAPE, seed=(5, i))
        write_volume(folder / f"stack_{i}.tif", made.image)
        write_volume(folder / f"truth_{i}.tif", made.truth)
    return folder


def compare(folder, output, chosen=methods.METHODS, changes=SMALL, **how):
    return cross_validate(
        plain_layout([folder], [folder]), output, TINY, changes=changes, chosen=chosen, progress=False, **how
    )


@pytest.fixture(scope="module")
def compared(stacks, tmp_path_factory):
    output = tmp_path_factory.mktemp("compared") / "out"
    return compare(stacks, output)


def masks_of(output, method):
    found = sorted((output / "cells").glob(f"fold_*/{method}-seed_0/*_mask.tif"))
    return np.stack([read_volume(path).array > 0 for path in found])


def test_every_method_is_scored_in_every_fold(compared):
    assert not compared.failed
    assert compared.exit_status == 0
    assert {(cell.method, cell.fold) for cell in compared.cells} == {
        (method, fold) for method in methods.METHODS for fold in range(3)
    }
    for method in methods.METHODS:
        assert masks_of(compared.path, method).shape[0] == 3


def test_tables_and_figures_are_written(compared):
    rows = list(csv.DictReader((compared.path / "table2.csv").open()))
    assert len(rows) == 2 * len(methods.METHODS)
    for name in ("table1.csv", "table1.md", "table2.md", "scores.csv", "scores.md", "figure1.png", "figure3.png"):
        assert (compared.path / name).stat().st_size > 100
    scores = list(csv.DictReader((compared.path / "scores.csv").open()))
    otsu = [float(row["dice"]) for row in scores if row["method"] == "otsu" and row["class"] == "nuclei"]
    mean = next(float(row["dice"]) for row in rows if row["method"] == "otsu" and row["class"] == "nuclei")
    assert mean == pytest.approx(np.mean(otsu))


def test_only_what_learns_from_a_truth_is_charged_with_labelling(compared):
    rows = {row["method"]: row for row in csv.DictReader((compared.path / "table1.csv").open())}
    for method in methods.METHODS:
        # One stack to train, one to validate on.
        assert float(rows[method]["labelling_hours"]) == (168.0 if method in methods.SUPERVISED else 0.0)


def test_permuting_the_truth_changes_no_prediction_of_what_learns_without_one(compared, stacks, tmp_path):
    names = [stacks / f"truth_{i}.tif" for i in (1, 2, 0)]
    permuted = dataclasses.replace(plain_layout([stacks], [stacks]), truths=names)
    config = TINY.replace(SMALL)
    work = cross_validation._Work(permuted, nested_folds(3), config, SMALL, tmp_path, progress=False)
    for method in (*methods.LABEL_FREE, "unet"):
        place = Place(method, 0, 0)
        again = work.cell(place)
        before = next(cell for cell in compared.cells if (cell.method, cell.fold) == (method, 0))
        same = np.array_equal(work.masks(place)[0], masks_of(compared.path, method)[0])
        # What learns from the truth follows it, or this test would be blind.
        assert same == (method != "unet"), method
        assert again.scores != before.scores


def test_a_failed_cell_does_not_lose_the_others_and_is_tried_again(stacks, tmp_path, monkeypatch):
    real = methods.threshold

    def failing(method, test):
        if method == "otsu":
            raise RuntimeError("out of luck")
        return real(method, test)

    chosen = ("otsu", "smoothed-otsu")
    with monkeypatch.context() as patch:
        patch.setattr(cross_validation.methods, "threshold", failing)
        first = compare(stacks, tmp_path / "out", chosen)
    assert [str(place) for place in first.failed] == [f"otsu, fold {k}, seed 0" for k in (1, 2, 3)]
    assert {cell.method for cell in first.cells} == {"smoothed-otsu"}
    assert first.exit_status == 3
    assert "out of luck" in (first.failed[0].folder(first.path) / "error.txt").read_text()
    done = Place("smoothed-otsu", 0, 0).folder(first.path) / "cell.json"
    before = done.stat().st_mtime_ns
    second = compare(stacks, tmp_path / "out", chosen, resume=True)
    assert not second.failed
    assert len(second.cells) == 6
    assert done.stat().st_mtime_ns == before


def test_more_seeds_of_some_methods_join_what_is_there(stacks, tmp_path):
    compare(stacks, tmp_path / "out", ("otsu", "smoothed-otsu"))
    both = compare(stacks, tmp_path / "out", ("smoothed-otsu",), seeds=(1,), resume=True)
    assert {(cell.method, cell.seed) for cell in both.cells} == {
        ("otsu", 0),
        ("smoothed-otsu", 0),
        ("smoothed-otsu", 1),
    }
    rows = list(csv.DictReader((both.path / "table2.csv").open()))
    assert [row["cells"] for row in rows] == ["3", "3", "6", "6"]
    plan = json.loads((both.path / "crossval.json").read_text())
    assert (plan["methods"], plan["seeds"]) == (["otsu", "smoothed-otsu"], [0, 1])


def test_an_interrupted_training_ends_the_comparison_and_goes_on_when_resumed(stacks, tmp_path, monkeypatch):
    def interrupted(*_):
        raise methods.TrainingInterrupted("run")

    monkeypatch.setattr(cross_validation.methods, "learn_from_truth", interrupted)
    first = compare(stacks, tmp_path / "out", ("otsu", "unet"))
    assert first.interrupted
    assert first.exit_status == 130
    assert [cell.method for cell in first.cells] == ["otsu"]
    done_at_once = lambda *given: methods.threshold("otsu", given[4])  # noqa: E731
    monkeypatch.setattr(cross_validation.methods, "learn_from_truth", done_at_once)
    assert len(compare(stacks, tmp_path / "out", ("otsu", "unet"), resume=True).cells) == 6


@pytest.mark.parametrize("fill", [False, True])
def test_every_training_reads_stacks_as_the_comparison_does(stacks, tmp_path, monkeypatch, fill):
    asked = []

    def noting(*_, allow_missing_chunks, **__):
        asked.append(allow_missing_chunks)
        raise RuntimeError("enough")

    for name in ("train", "train_two_stage"):
        monkeypatch.setattr(methods, name, noting)
    layout = plain_layout([stacks], [stacks], allow_missing_chunks=fill)
    work = cross_validation._Work(layout, nested_folds(3), TINY.replace(SMALL), SMALL, tmp_path, progress=False)
    for method in ("unet", "vox2vox", "cyclegan", "two-stage"):
        with pytest.raises(RuntimeError, match="enough"):
            work.cell(Place(method, 0, 0))
    assert asked == [fill] * 4


def test_a_comparison_of_other_settings_is_not_resumed(compared, stacks):
    with pytest.raises(errors.ModelError, match="config and changes"):
        compare(stacks, compared.path, changes=SMALL | {"training.epochs": 3}, resume=True)


def test_a_comparison_is_resumed_that_began_when_a_setting_did_not_exist_yet(stacks, tmp_path):
    compare(stacks, tmp_path / "out", ("otsu",))
    place = tmp_path / "out" / "crossval.json"
    plan = json.loads(place.read_text())
    del plan["config"]["inference"]["outline_levels"]
    place.write_text(json.dumps(plan))
    assert len(compare(stacks, tmp_path / "out", ("otsu", "smoothed-otsu"), resume=True).cells) == 6


def test_a_comparison_is_not_replaced_unasked(compared, stacks):
    with pytest.raises(errors.OutputExistsError):
        compare(stacks, compared.path)


def test_all_that_a_comparison_writes_is_known_to_be_its_own(compared):
    assert {path.name for path in compared.path.iterdir()} == {*comparison_folder.CONTENTS}
    assert compared.results == [*comparison_folder.RESULTS]


@pytest.mark.parametrize(
    "wrong", [{"synthesis.centres": True}, {"supervised.levels": 6, "training.patch_shape": [16, 16, 16]}]
)
def test_what_is_wrong_for_one_method_is_said_before_any_is_trained(stacks, tmp_path, wrong):
    with pytest.raises(errors.ConfigError, match=r"synthesis\.centres|training\.patch_shape"):
        compare(stacks, tmp_path / "out", ("otsu", "cyclegan", "unet"), SMALL | wrong)
    assert not (tmp_path / "out").exists()
    assert compare(stacks, tmp_path / "out", ("otsu",), SMALL | wrong).cells


@pytest.mark.parametrize(
    ("setting", "remedy"), [("seed=7", "--seeds"), ("method=unet", "--methods"), ("preset=best", "--preset")]
)
def test_settings_that_would_make_cells_alike_are_refused(stacks, tmp_path, capsys, setting, remedy):
    key, _, value = setting.partition("=")
    with pytest.raises(errors.OptionError, match=rf"{setting}.*{remedy}"):
        compare(stacks, tmp_path / "out", ("otsu",), SMALL | {key: value})
    given = ["--images", str(stacks), "--truth", str(stacks), "-o", str(tmp_path / "out")]
    assert command_line.main(["crossval", *given, "--methods", "otsu", "--set", setting]) == 2
    assert remedy in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("bad", ["stack_2", "truth_2"])
@pytest.mark.parametrize("value", [np.nan, 0.5])
def test_a_bad_stack_is_said_before_the_first_cell(stacks, tmp_path, capsys, bad, value):
    folder = shutil.copytree(stacks, tmp_path / "stacks")
    values = read_volume(folder / f"{bad}.tif").array.astype(np.float32) * 2 + 1
    values[3, 4, 5] = value
    if bad == "stack_2" and value == 0.5:
        values[:] = value  # Of one value throughout.
    write_volume(folder / f"{bad}.tif", Volume(values))
    given = ["--images", str(folder), "--truth", str(folder), "-o", str(tmp_path / "out"), "--methods", "otsu"]
    assert command_line.main(["crossval", *given]) == 2
    assert bad in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_seeds_beyond_those_of_a_configuration_are_refused(stacks, tmp_path, capsys):
    with pytest.raises(errors.OptionError, match=r"4294967296.*0 to 4294967295"):
        compare(stacks, tmp_path / "out", ("otsu",), seeds=(0, 2**32))
    given = ["--images", str(stacks), "--truth", str(stacks), "-o", str(tmp_path / "out"), "--methods", "otsu"]
    assert command_line.main(["crossval", *given, "--seed", str(2**32 - 1), "--seeds", "2"]) == 2
    assert "0 to 4294967295" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["cells/mine.txt", "scores.csv", "table1.md", "figure1.png"])
def test_a_users_file_of_the_same_name_is_not_replaced_unasked(stacks, tmp_path, name):
    mine = tmp_path / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(errors.OutputExistsError):
        compare(stacks, tmp_path, ("otsu",))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == "mine"


def test_cells_without_the_plan_of_a_comparison_are_deleted_by_nothing(stacks, tmp_path):
    mine = tmp_path / "cells" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(errors.OutputError, match="it holds cells, which no cross-validation wrote"):
        compare(stacks, tmp_path, ("otsu",), overwrite=True)
    assert mine.read_text() == "mine"


def test_a_comparison_stopped_while_it_replaces_another_goes_on_with_none_of_its_cells(stacks, tmp_path, monkeypatch):
    def killed(*_, **__):
        raise SystemExit

    output = tmp_path / "out"
    assert compare(stacks, output, ("otsu",)).cells
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(comparison_folder.tempfile.TemporaryDirectory, "cleanup", killed)
        compare(stacks, output, ("otsu",), overwrite=True)
    assert (output / "crossval.json").exists() and not comparison_folder.cells_done(output)
    assert len(compare(stacks, output, ("otsu",), resume=True).cells) == 3


def test_nothing_of_a_comparison_stays_among_the_results_of_the_one_that_replaces_it(stacks, tmp_path, monkeypatch):
    def failing(*_):
        raise RuntimeError("out of luck")

    output = tmp_path / "out"
    assert compare(stacks, output, ("otsu",)).results
    monkeypatch.setattr(cross_validation.methods, "threshold", failing)
    again = compare(stacks, output, ("smoothed-otsu",), overwrite=True)
    assert not again.cells and not again.results
    assert {path.name for path in output.iterdir()} == {"crossval.json", "cells"}


@pytest.fixture
def small_demo(monkeypatch):
    monkeypatch.setattr(comparison_demo, "SHAPE", SHAPE)


def demo(output, **how):
    return comparison_demo.compare_on_simulated(output, TINY, changes=SMALL, progress=False, **how)


def test_the_demo_does_not_replace_a_users_stacks_unasked(small_demo, tmp_path):
    mine = tmp_path / "stacks" / "truth_000.tif"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(errors.OutputExistsError):
        demo(tmp_path, chosen=("otsu",))
    with pytest.raises(errors.ModelError, match="no cross-validation to resume"):
        demo(tmp_path, chosen=("otsu",), resume=True)
    for wrong in ({"chosen": ("bogus",)}, {"chosen": ("otsu",), "n_folds": 4}, {"seeds": ()}):
        with pytest.raises(errors.OptionError):
            demo(tmp_path, **wrong, overwrite=True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == "mine"


def test_the_demo_goes_on_with_the_stacks_it_wrote(small_demo, tmp_path):
    demo(tmp_path / "out", chosen=("otsu",))
    stack = tmp_path / "out" / "stacks" / "stack_000.tif"
    before = stack.stat().st_mtime_ns
    assert len(demo(tmp_path / "out", chosen=("otsu", "smoothed-otsu"), resume=True).cells) == 6
    assert stack.stat().st_mtime_ns == before


def test_all_methods_share_patches_grid_and_length(compared):
    shared = ("training.patch_shape", "training.epochs", "training.steps_per_epoch", "preprocessing.downsampling")
    found = {}
    for method in ("cyclegan", "two-stage", *methods.SUPERVISED):
        config = json.loads((Place(method, 0, 0).folder(compared.path) / "run" / "config.json").read_text())
        found[method] = [config[key.split(".")[0]][key.split(".")[1]] for key in shared]
    assert all(values == found["cyclegan"] for values in found.values())


@pytest.mark.parametrize("method", ["unet", "vox2vox", "two-stage"])
@pytest.mark.parametrize("preset", ["paper", "fast", "best", "authors"])
def test_a_method_changes_networks_and_rates_and_nothing_else(preset, method):
    base = presets.by_name(preset).to_dict()
    own = presets.with_method(presets.by_name(preset), method).to_dict()
    for section in ("preprocessing", "synthesis", "inference", "monitors"):
        assert own[section] == base[section]
    for key in ("epochs", "steps_per_epoch", "patch_shape"):
        assert own["training"][key] == base["training"][key]
    assert own["method"] == method


def test_tensorflow_does_not_warn_of_one_network_after_another(caplog):
    tensorflow = logging.getLogger("tensorflow")
    said = "5 out of the last 5 calls to <function> triggered tf.function retracing."
    with many_networks():
        tensorflow.warning(said)
        tensorflow.warning("another thing")
    tensorflow.warning(said)
    assert [record.getMessage() for record in caplog.records if record.name == "tensorflow"] == ["another thing", said]
