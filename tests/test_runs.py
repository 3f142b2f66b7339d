"""A whole training: what its run folder holds, how it repeats, stops and goes on, and the model that comes of it."""

import base64
import csv
import dataclasses
import errno
import hashlib
import html
import json
import os
import re
import shutil
import signal
import time
from html.parser import HTMLParser
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
import tensorflow as tf
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import tfcyclegan3d as tc
from tests.eagerly import run_eagerly
from tests.tiny import TINY
from tfcyclegan3d import config as configuration
from tfcyclegan3d import errors, preprocessing
from tfcyclegan3d.inference import predictor
from tfcyclegan3d.tiff import reading
from tfcyclegan3d.training import report
from tfcyclegan3d.training.course import Clock
from tfcyclegan3d.training.cyclegan_trainer import CycleGANTrainer, _hardly_adversarial
from tfcyclegan3d.training.manifest import described_grids
from tfcyclegan3d.training.monitors import MONITORS
from tfcyclegan3d.training.preparation import prepare
from tfcyclegan3d.training.report import write_report
from tfcyclegan3d.training.report_figures import curves
from tfcyclegan3d.training.run import Run, _cut_short
from tfcyclegan3d.training.run_figures import choice_figure
from tfcyclegan3d.training.run_folder import RunFolder
from tfcyclegan3d.volumes import Grid, Volume, read_volume, write_volume

VOXEL_SIZE = (0.5, 0.25, 0.25)
TWO_EPOCHS = TINY.replace(
    {"preprocessing.downsampling": [1, 2, 2], "training.epochs": 2, "training.steps_per_epoch": 3}
)
# Only the start, which compiles in a second or two, and one step of it.
SHORT = TWO_EPOCHS.replace({"training.start_fraction": 1.0, "training.epochs": 1, "training.steps_per_epoch": 1})
FILES = {
    *("config.json", "manifest.json", "metrics.csv", "logs", "previews", "checkpoints", "report.html"),
    *("image_to_mask.keras", "mask_to_image.keras"),
}
KINDS = ("averaged", "raw")
WATCHED = [*(f"monitors/{name}" for name in MONITORS), "scores/averaged", "scores/raw"]
RATES = ["learning_rate_generators", "learning_rate_critics"]
LOSSES = ["adversarial_mask", "adversarial_image", "cycle_mask", "cycle_image", "supervised", "critics"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def path(folder):
    """A simulated stack."""
    image = tc.simulate_stack((20, 48, 52), seed=1).image
    return write_volume(folder / "cells.tif", Volume(image.array, VOXEL_SIZE))


@pytest.fixture(scope="module")
def whole(folder, path):
    """An uninterrupted run: an epoch of the start, one of the CycleGAN."""
    return tc.train([path], None, TWO_EPOCHS, folder / "whole", progress=False, command="tfcyclegan3d train as typed")


def interrupting_at(step):
    """The trainer's step, which presses Ctrl-C in the middle of one of them."""
    real = CycleGANTrainer.step

    def pressed(self, index, progress, rate):
        if index == step:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, index, progress, rate)

    return pressed


@pytest.fixture(scope="module")
def interrupted(folder, path):
    """The same run, interrupted in the middle of its second epoch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CycleGANTrainer, "step", interrupting_at(4))
        return tc.train([path], None, TWO_EPOCHS, folder / "interrupted", progress=False)


@pytest.fixture(scope="module")
def resumed(folder, path, interrupted):
    """The interrupted run taken to its end, in a copy of its folder."""
    shutil.copytree(interrupted.path, folder / "resumed")
    return tc.train([path], None, None, folder / "resumed", resume=True, progress=False)


def test_a_folder_that_is_no_run_is_not_replaced(folder, path):
    for name in ("logs", "checkpoints", "demo"):
        (folder / "project" / name).mkdir(parents=True)
        (folder / "project" / name / "mine.txt").write_text("mine")
    with pytest.raises(errors.OutputError, match="logs, which no training wrote"):
        tc.train([path], None, SHORT, folder / "project", overwrite=True, progress=False)
    assert len(list((folder / "project").rglob("mine.txt"))) == 3


def test_a_run_that_came_during_the_preparation_is_not_replaced(folder, path, monkeypatch):
    output = folder / "taken"

    def prepare_while_another_runs(*arguments):
        output.mkdir()
        (output / "config.json").write_text("another's")
        return prepare(*arguments)

    monkeypatch.setattr("tfcyclegan3d.training.run.prepare", prepare_while_another_runs)
    with pytest.raises(errors.OutputExistsError):
        tc.train([path], None, SHORT, output, progress=False)
    assert (output / "config.json").read_text() == "another's"


@pytest.fixture
def eagerly():
    with run_eagerly():
        yield


@pytest.fixture(scope="module")
def short_run(folder, path):
    """A run of one step; to be copied, not changed."""
    with run_eagerly():
        return tc.train([path], None, SHORT, folder / "short", progress=False)


@pytest.fixture
def copied(short_run, tmp_path):
    return shutil.copytree(short_run.path, tmp_path / "run")


def weights_of(run_path):
    """Every weight of both saved networks."""
    names = ("image_to_mask", "mask_to_image")
    return [
        weight for name in names for weight in keras.saving.load_model(run_path / f"{name}.keras", False).get_weights()
    ]


def checkpoint_of(run_path, epoch, suffix=""):
    """The variables of a checkpoint, and the clock of its record."""
    with np.load(run_path / "checkpoints" / f"epoch_{epoch:04d}{suffix}.npz") as file:
        stored = {name: file[name] for name in file.files}
    clock = json.loads(stored.pop("record").tobytes())["clock"]
    return stored | {f"clock/{name}": value for name, value in clock.items()}


def content_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def manifest_of(run_path):
    return json.loads((run_path / "manifest.json").read_text())


def rows_of(run_path):
    with (run_path / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


# ---- the run folder


def test_a_training_on_stacks_left_on_disk_is_the_same_and_leaves_nothing_beside_its_folder(
    short_run, path, tmp_path, monkeypatch
):
    monkeypatch.setattr(reading, "MOST_IN_MEMORY", 0)
    with run_eagerly():
        run = tc.train([path], None, SHORT, tmp_path / "run", progress=False)
    assert list(tmp_path.iterdir()) == [run.path]
    assert not [file for file in content_of(run.path) if "tfcyclegan3d" in file.name]
    losses = [{name: row[name] for name in ("supervised", "step")} for row in rows_of(run.path)]
    assert losses == [{name: row[name] for name in ("supervised", "step")} for row in rows_of(short_run.path)]


def test_the_run_folder_holds_what_it_promises_and_nothing_else(whole):
    assert {path.name for path in whole.path.iterdir()} == FILES
    assert sorted(path.name for path in (whole.path / "previews").iterdir()) == ["epoch_0001.png", "epoch_0002.png"]
    assert sorted(path.name for path in (whole.path / "checkpoints").iterdir()) == ["epoch_0001.npz", "epoch_0002.npz"]
    assert all(path.name.startswith("events.") for path in (whole.path / "logs").iterdir())
    for picture in (whole.path / "previews").iterdir():
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_run_says_how_it_ended(whole, folder):
    assert (whole.path, whole.verdict, whole.exit_status) == (folder / "whole", "finished", 0)


@pytest.mark.parametrize(
    ("verdict", "warnings", "exit_status"),
    [
        ("finished", (), 0),
        ("finished", ("the predicted masks of nuclei are empty",), 0),
        ("diverged", ("a loss is not finite",), 3),
        ("interrupted", (), 130),
    ],
)
def test_the_exit_status_tells_how_a_run_ended(tmp_path, verdict, warnings, exit_status):
    assert Run(tmp_path, TWO_EPOCHS, verdict, warnings).exit_status == exit_status


def test_the_metrics_have_a_row_an_epoch_and_name_every_loss(whole):
    rows = rows_of(whole.path)
    assert list(rows[0]) == ["epoch", "step", "minutes", "phase", "seconds_per_step", *LOSSES, *RATES, *WATCHED]
    assert [(row["epoch"], row["step"], row["phase"]) for row in rows] == [("1", "3", "start"), ("2", "6", "cyclegan")]
    assert [name for name in LOSSES if rows[0][name]] == ["supervised"]
    assert all(float(rows[1][name]) > 0 for name in LOSSES)
    assert all(row[name] for row in rows for name in WATCHED)
    assert [[row[name] for name in RATES] for row in rows] == [["0.0005", ""], ["0.0001", "0.0002"]]
    assert all(0 < float(row["seconds_per_step"]) < 60 for row in rows)
    assert 0 < float(rows[0]["minutes"]) < float(rows[1]["minutes"]) < 5


def test_the_configuration_is_that_of_the_run_with_nothing_left_open(whole):
    stored = configuration.load(whole.path / "config.json")
    assert stored == whole.config
    assert stored.classes == ("golgi", "nuclei")
    assert stored.synthesis.prior is not None
    assert None not in (stored.losses.class_weights, stored.losses.foreground_weights)
    kept = {"classes": None, "synthesis.prior": None, "losses.class_weights": None, "losses.foreground_weights": None}
    assert stored.replace(kept) == TWO_EPOCHS


def test_the_manifest_says_what_was_run_on_what_and_how_it_ended(whole, path):
    manifest = manifest_of(whole.path)
    assert manifest["inputs"] == [{"name": "cells.tif", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}]
    with_size = read_volume(path)
    assert manifest["voxel_size_um"] == (with_size.voxel_size_um and pytest.approx(with_size.voxel_size_um))
    assert [(one["name"], one["shape"]) for one in manifest["grids"]] == [("cells", list(with_size.shape))]
    assert (manifest["command"], manifest["seed"]) == ("tfcyclegan3d train as typed", 0)
    assert (manifest["verdict"], manifest["epochs"], manifest["steps"]) == ("finished", 2, 6)
    assert manifest["machine"]["tfcyclegan3d"] == tc.__version__
    assert manifest["machine"]["tensorflow"] == tf.__version__
    assert (manifest["policy"], manifest["preset"], manifest["classes"]) == ("float32", "fast", ["golgi", "nuclei"])
    assert any("full" in note for note in manifest["notes"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", manifest["started"])
    assert (manifest["version"], manifest["exit_status"], manifest["warnings"]) == (
        tc.__version__,
        0,
        list(whole.warnings),
    )
    timings = manifest["timings"]
    assert 0 < timings["preparation_minutes"] < timings["total_minutes"] < 5
    assert timings["training_minutes"] == pytest.approx(
        timings["total_minutes"] - timings["preparation_minutes"], abs=2e-3
    )
    assert timings["seconds_per_step"] == float(rows_of(whole.path)[-1]["seconds_per_step"])


def test_the_manifest_of_a_killed_run_says_that_it_has_not_ended(eagerly, path, tmp_path, monkeypatch):
    def killed(*_):
        raise RuntimeError

    monkeypatch.setattr(CycleGANTrainer, "step", killed)
    with pytest.raises(RuntimeError):
        tc.train([path], None, SHORT, tmp_path, progress=False)
    manifest = manifest_of(tmp_path)
    assert (manifest["verdict"], manifest["exit_status"], manifest["warnings"]) == ("running", None, [])
    assert manifest["inputs"][0]["name"] == "cells.tif"
    assert 0 < manifest["timings"]["preparation_minutes"] < 5


# ---- logs


def curves_of(run_path):
    """What TensorBoard reads from a run's logs: of each tag, the value of each epoch."""
    events = EventAccumulator(str(run_path / "logs"), size_guidance={"tensors": 0}).Reload()
    return {
        tag: [(event.step, tf.make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
    }


def test_tensorboard_shows_every_number_of_the_metrics_in_its_group(whole):
    curves, rows = curves_of(whole.path), rows_of(whole.path)
    tags = {name: f"losses/{name}" for name in LOSSES} | {"minutes": "time/minutes"}
    tags |= {name: name.replace("learning_rate_", "learning_rates/") for name in RATES}
    tags |= {"seconds_per_step": "time/seconds_per_step"} | {name: name for name in WATCHED}
    assert curves.keys() == {*tags.values(), "preview"}
    for column, tag in tags.items():
        wanted = [(int(row["epoch"]), float(row[column])) for row in rows if row[column]]
        found = [(epoch, float(value)) for epoch, value in curves[tag]]
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=6e-4 if column == "minutes" else 0)


def test_tensorboard_shows_each_epochs_preview_as_it_lies_in_the_folder(whole):
    for epoch, (width, height, png) in curves_of(whole.path)["preview"]:
        assert png == (whole.path / "previews" / f"epoch_{epoch:04d}.png").read_bytes()
        assert tf.io.decode_png(png).shape[:2] == (int(height), int(width))
    assert [epoch for epoch, _ in curves_of(whole.path)["preview"]] == [1, 2]


def logged(folder, run, epochs):
    """Log epochs of a made-up training."""
    for epoch in epochs:
        run.log_epoch(epoch, 10 * epoch, epoch / 2, "start", 0.5, {"cycle_mask": 1 / epoch, "monitors/fill": epoch})
        figure = Figure(figsize=(1, 1))
        figure.text(0, 0, str(epoch))
        run.save_preview(epoch, figure)


def test_further_columns_are_named_when_the_folder_is_made_and_may_stay_empty(tmp_path):
    run = RunFolder(tmp_path, ["cycle_mask", "monitors/fill", "score"])
    run.create(SHORT)
    logged(tmp_path, run, [1, 2])
    assert [(row["cycle_mask"], row["monitors/fill"], row["score"]) for row in rows_of(tmp_path)] == [
        ("1", "1", ""),
        ("0.5", "2", ""),
    ]
    assert [(epoch, float(value)) for epoch, value in curves_of(tmp_path)["monitors/fill"]] == [(1, 1), (2, 2)]
    with pytest.raises(ValueError, match="unnamed"):
        run.log_epoch(3, 30, 1.5, "start", 0.5, {"unnamed": 1.0})


@pytest.mark.parametrize("by", ["the same program", "another program", "another program, the first one killed"])
def test_epochs_that_are_repeated_are_shown_once_and_the_others_as_they_were(tmp_path, by):
    run = RunFolder(tmp_path, ["cycle_mask", "monitors/fill"])
    run.create(SHORT)
    logged(tmp_path, run, [1, 2, 3, 4])
    before = curves_of(tmp_path)
    if by != "the same program":
        run = RunFolder(tmp_path, ["cycle_mask", "monitors/fill"])
    if by.endswith("killed"):
        (events,) = (tmp_path / "logs").iterdir()
        events.write_bytes(events.read_bytes()[:-100])
    run.forget_epochs_after(2)
    assert [row["epoch"] for row in rows_of(tmp_path)] == ["1", "2"]
    assert {tag: [epoch for epoch, _ in values] for tag, values in curves_of(tmp_path).items()} == {
        tag: [1, 2] for tag in before
    }
    logged(tmp_path, run, [3])
    after = curves_of(tmp_path)
    assert after.keys() == before.keys()
    for tag, values in after.items():
        # Of event files of one second, TensorBoard reads the tenth before the ninth.
        assert sorted(epoch for epoch, _ in values) == [1, 2, 3]
        for (_, now), (_, then) in zip(values, before[tag], strict=False):
            np.testing.assert_array_equal(now, then)
    assert all(file.name.startswith("events.") for file in (tmp_path / "logs").iterdir())


# ---- the report


class Outline(HTMLParser):
    """The elements of a page, each of which must be closed in its turn."""

    def __init__(self, page):
        super().__init__()
        self.open, self.sources, self.elements, self.links = [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "srcset", "action", "data")]
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_report_is_one_page_that_needs_no_other_file(whole):
    page = (whole.path / "report.html").read_text()
    outline = Outline(page)
    assert outline.open == []
    # Adversarial, cycle, supervised, critics, learning rates; two previews, the last of which is the middle one; eight
    # monitors; the scores of the choice.
    assert outline.elements.count("img") == 16 == len(outline.links)
    assert all(link.startswith("data:image/png;base64,") for link in outline.links)
    assert "http" not in page and "url(" not in page and "@import" not in page
    assert 'name="viewport"' in page
    fingerprint = hashlib.sha256((whole.path.parent / "cells.tif").read_bytes()).hexdigest()
    for said in ("ran to its end: 6 steps in 2 epochs", "cells.tif", "tfcyclegan3d train as typed", fingerprint):
        assert said in page
    assert all(html.escape(warning) in page for warning in whole.warnings)


def test_the_report_shows_the_last_a_middle_and_the_first_epoch(copied):
    run = RunFolder(copied, [*LOSSES, *RATES])
    for epoch in range(2, 12):
        run.log_epoch(epoch, epoch, epoch / 2, "cyclegan", 0.5, {"cycle_mask": 1 / epoch})
        shutil.copy(copied / "previews" / "epoch_0001.png", copied / "previews" / f"epoch_{epoch:04d}.png")
    page = write_report(run).read_text()
    assert re.findall(r"<b>Epoch (\d+)</b>", page) == ["11", "6", "1"]


@pytest.mark.parametrize(
    ("verdict", "exit_status", "warnings", "said"),
    [
        ("finished", 0, [], "The training ran to its end: 1 step in 1 epoch and 2.5 minutes. Its own checks found no"),
        ("finished", 0, ["<b>"], "Its own checks give 1 warning."),
        ("finished", 3, ["no trust"], "The training ran to its end"),
        ("interrupted", 130, [], "The training was interrupted after 1 step"),
        ("diverged", 3, ["diverged"], "The training failed after 1 step"),
    ],
)
def test_the_report_begins_with_how_the_run_ended_and_its_warnings(copied, verdict, exit_status, warnings, said):
    run = RunFolder(copied)
    ending = {"verdict": verdict, "exit_status": exit_status, "warnings": warnings}
    timings = manifest_of(copied)["timings"] | {"total_minutes": 2.5}
    run.write_manifest(manifest_of(copied) | ending | {"timings": timings})
    page = write_report(run).read_text()
    assert page.index(said) < page.index("<h2>")
    assert Outline(page).open == []
    assert ("found nothing wrong" in page) == (exit_status == 0 and not warnings)
    assert ('class="verdict bad"' in page) == (exit_status != 0 or bool(warnings))
    assert page.count('<p class="warning">') == len(warnings)
    assert "<b></p>" not in page


def test_losses_that_span_decades_are_drawn_on_a_logarithmic_axis_and_others_are_not():
    rows = [{"epoch": str(k), "phase": "start", "fast": f"{10.0**-k}", "slow": f"{k}", "none": ""} for k in range(1, 5)]
    fast = curves(rows, {"fast": "fast", "none": "none"}, "loss").axes[0]
    slow = curves(rows, {"slow": "slow"}, "loss").axes[0]
    assert (fast.get_yscale(), slow.get_yscale()) == ("log", "linear")
    np.testing.assert_allclose(fast.lines[0].get_xydata(), [(k, 10.0**-k) for k in range(1, 5)])
    assert len(fast.lines) == 1
    assert curves(rows, {"none": "none"}, "loss") is None


def test_where_another_part_of_the_training_begins_is_marked():
    rows = [{"epoch": str(k), "phase": "start" if k < 3 else "cyclegan", "loss": "1"} for k in range(1, 5)]
    _, boundary = curves(rows, {"loss": "loss"}, "loss").axes[0].lines
    assert set(boundary.get_xdata()) == {2.5}


def test_a_run_shows_itself_in_a_notebook_by_verdict_warnings_losses_and_last_preview(whole):
    shown = whole._repr_html_()
    outline = Outline(shown)
    assert outline.open == []
    assert "ran to its end" in shown
    assert all(html.escape(warning) in shown for warning in whole.warnings)
    last = base64.b64encode((whole.path / "previews" / "epoch_0002.png").read_bytes()).decode()
    first = base64.b64encode((whole.path / "previews" / "epoch_0001.png").read_bytes()).decode()
    assert f"data:image/png;base64,{last}" in outline.links
    assert f"data:image/png;base64,{first}" not in outline.links
    assert len(outline.links) == 14
    rules = re.sub(r"\{[^}]*\}", ",", re.search(r"<style>(.*)</style>", shown, re.DOTALL)[1])
    assert all(selector.strip().startswith(".run") for selector in rules.split(",") if selector.strip())


def test_the_choice_of_the_epoch_is_drawn_by_its_agreement_with_the_epoch_kept_marked(whole):
    axis = choice_figure(whole.path).axes[0]
    (band,) = axis.patches
    x = band.get_extents().transformed(axis.transData.inverted()).intervalx
    assert x.mean() == pytest.approx(manifest_of(whole.path)["selected"]["epoch"])
    drawn = {line.get_label(): line.get_ydata() for line in axis.lines if line.get_label().endswith("weights")}
    for which in KINDS:
        np.testing.assert_allclose(
            drawn[f"{which} weights"], [float(row[f"scores/{which}"]) for row in rows_of(whole.path)]
        )


@pytest.mark.parametrize(("phases", "parts"), [(("start", "start"), 0), (("start", "cyclegan"), 1)])
@pytest.mark.parametrize("kept", [1, 2])
def test_the_report_says_where_the_epoch_kept_is_from_before_the_adversarial_part(whole, phases, parts, kept):
    data = report.RunData.of(RunFolder(whole.path))
    rows = [row | {"phase": phase} for row, phase in zip(data.rows, phases, strict=True)]
    manifest = data.manifest | {"selected": data.manifest["selected"] | {"epoch": kept}}
    said = report.networks(dataclasses.replace(data, rows=rows, manifest=manifest))
    assert said.count("where the adversarial part begins") == parts
    assert said.count("The epoch kept is from before it") == (parts if kept == 1 else 0)


def test_a_run_whose_folder_is_gone_still_has_a_representation(tmp_path):
    run = Run(tmp_path / "gone", TWO_EPOCHS, "finished", ())
    assert run._repr_html_() is None
    assert repr(run) == f"<Run {tmp_path / 'gone'}: finished, 0 warnings>"


def test_the_saved_networks_are_those_of_the_epoch_chosen(whole):
    chosen = manifest_of(whole.path)["selected"]
    scores = {(int(row["epoch"]), which): row[f"scores/{which}"] for row in rows_of(whole.path) for which in KINDS}
    assert (chosen["epoch"], chosen["which"]) in scores
    state = checkpoint_of(whole.path, chosen["epoch"])
    names = ["image_to_mask", "mask_to_image"] if chosen["which"] == "raw" else ["average"]
    wanted = [state[name] for group in names for name in sorted(state) if name.startswith(f"{group}/")]
    saved = weights_of(whole.path)
    for weight, stored in zip(saved, wanted, strict=chosen["which"] == "raw"):
        np.testing.assert_array_equal(weight, stored)


def test_either_kind_of_weights_can_be_taken_from_a_checkpoint(whole, path):
    trainer = CycleGANTrainer(prepare([read_volume(path)], None, whole.config))
    state = checkpoint_of(whole.path, 2)
    file = whole.path / "checkpoints" / "epoch_0002.npz"
    raw = [state[name] for group in ("image_to_mask", "mask_to_image") for name in sorted(state) if group in name[:13]]
    averaged = [state[name] for name in sorted(state) if name.startswith("average/")][:-1]
    for which, wanted in (("raw", raw), ("averaged", averaged)):
        found = [weight for network in trainer.stored_networks(file, which) for weight in network.get_weights()]
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one, other)
    assert any((one != other).any() for one, other in zip(raw, averaged, strict=True))


# ---- repeating


def assert_same_state(one, other):
    assert one.keys() == other.keys()
    for name in one.keys() - {"clock/seconds"}:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_the_same_seed_gives_the_same_networks_bit_for_bit_and_another_seed_others(eagerly, short_run, path, tmp_path):
    again, other = (
        tc.train([path], None, SHORT.replace({"seed": seed}), tmp_path / str(seed), progress=False) for seed in (0, 1)
    )
    assert_same_state(checkpoint_of(short_run.path, 1), checkpoint_of(again.path, 1))
    for one, another in zip(weights_of(short_run.path), weights_of(again.path), strict=True):
        np.testing.assert_array_equal(one, another)
    assert (weights_of(other.path)[0] != weights_of(again.path)[0]).any()


def test_a_run_can_be_repeated_from_its_configuration(eagerly, short_run, path, tmp_path):
    stored = configuration.load(short_run.path / "config.json")
    again = tc.train([path], None, stored, tmp_path / "again", progress=False)
    assert again.config == short_run.config
    assert_same_state(checkpoint_of(short_run.path, 1), checkpoint_of(again.path, 1))


# ---- stopping and going on


def test_an_interruption_at_the_end_of_an_epoch_that_is_not_saved_is(path, tmp_path):
    rarely = TWO_EPOCHS.replace({"training.checkpoint_every": 5})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CycleGANTrainer, "step", interrupting_at(2))
        run = tc.train([path], None, rarely, tmp_path / "run", progress=False)
    assert run.verdict == "interrupted"
    assert checkpoint_of(run.path, 1)["clock/step"] == 3
    assert tc.train([path], None, None, run.path, resume=True, progress=False).verdict == "finished"
    assert [row["step"] for row in rows_of(run.path)] == ["3", "6"]


def test_an_interrupted_run_has_saved_what_it_learned(interrupted, path):
    assert (interrupted.verdict, interrupted.exit_status) == ("interrupted", 130)
    assert manifest_of(interrupted.path)["verdict"] == "interrupted"
    assert manifest_of(interrupted.path)["steps"] == 5
    assert {path.name for path in interrupted.path.iterdir()} == FILES
    assert [row["epoch"] for row in rows_of(interrupted.path)] == ["1"]
    assert checkpoint_of(interrupted.path, 1)["clock/step"] == 3
    assert checkpoint_of(interrupted.path, 1, "_interrupted")["clock/step"] == 5
    probabilities = tc.load_model(interrupted.path).predict(read_volume(path))
    assert np.isfinite(probabilities.array).all()


def test_a_run_interrupted_in_its_last_step_is_finished(eagerly, path, tmp_path, monkeypatch):
    monkeypatch.setattr(CycleGANTrainer, "step", interrupting_at(0))
    run = tc.train([path], None, SHORT, tmp_path / "run", progress=False)
    assert (run.verdict, run.exit_status) == ("finished", 0)
    assert manifest_of(run.path)["verdict"] == "finished"
    assert [row["epoch"] for row in rows_of(run.path)] == ["1"]


def test_ctrl_c_works_as_before_once_a_run_was_interrupted(interrupted):
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_resumed_run_ends_as_if_it_had_never_been_interrupted_bit_for_bit(whole, resumed):
    assert (resumed.verdict, resumed.exit_status, resumed.config) == ("finished", 0, whole.config)
    for one, other in zip(weights_of(whole.path), weights_of(resumed.path), strict=True):
        np.testing.assert_array_equal(one, other)
    assert_same_state(checkpoint_of(whole.path, 2), checkpoint_of(resumed.path, 2))
    assert sorted(path.name for path in (resumed.path / "checkpoints").iterdir()) == [
        "epoch_0001.npz",
        "epoch_0002.npz",
    ]


def test_a_resumed_run_has_the_losses_and_notes_of_one_that_was_never_interrupted(whole, resumed):
    times = {"minutes": "", "seconds_per_step": ""}
    assert [row | times for row in rows_of(resumed.path)] == [row | times for row in rows_of(whole.path)]
    notes = manifest_of(whole.path)["notes"]
    assert manifest_of(resumed.path)["notes"] == notes
    assert sum("synthetic masks are fitted" in note or "drawn anew" in note for note in notes) == 2
    assert all(html.escape(note) in (resumed.path / "report.html").read_text() for note in notes)


def test_a_resumed_run_has_a_row_and_a_preview_for_every_epoch_once(interrupted, resumed):
    assert [(row["epoch"], row["step"]) for row in rows_of(resumed.path)] == [("1", "3"), ("2", "6")]
    assert sorted(path.name for path in (resumed.path / "previews").iterdir()) == ["epoch_0001.png", "epoch_0002.png"]
    assert {path.name for path in resumed.path.iterdir()} == FILES
    assert {tuple(epoch for epoch, _ in values) for values in curves_of(resumed.path).values()} == {(1, 2), (2,)}
    before, after = (manifest_of(run.path)["timings"] for run in (interrupted, resumed))
    assert before["preparation_minutes"] < after["preparation_minutes"] < after["total_minutes"]


def test_a_finished_run_can_go_on_for_longer_and_says_so_in_its_configuration(eagerly, short_run, copied, path):
    longer = short_run.config.replace({"training.epochs": 2})
    run = tc.train([path], None, longer, copied, resume=True, progress=False)
    assert [(row["epoch"], row["step"]) for row in rows_of(copied)] == [("1", "1"), ("2", "2")]
    assert run.config == longer
    assert configuration.load(copied / "config.json") == longer


def test_a_run_is_not_resumed_for_fewer_epochs_than_it_has(eagerly, whole, path, tmp_path):
    copied = shutil.copytree(whole.path, tmp_path / "copied")
    before = (copied / "config.json").read_bytes()
    with pytest.raises(errors.OptionError, match="--epochs: received 1; the run has 2 epochs behind it"):
        tc.train([path], None, whole.config.replace({"training.epochs": 1}), copied, resume=True, progress=False)
    assert (copied / "config.json").read_bytes() == before


def test_a_run_is_resumed_by_the_call_that_began_it(eagerly, short_run, copied, path):
    run = tc.train([path], None, SHORT, copied, resume=True, progress=False)
    assert (run.verdict, run.config) == ("finished", short_run.config)


def test_a_run_cannot_be_resumed_with_other_settings(short_run, copied, path):
    with pytest.raises(errors.ModelError, match="begun with other settings"):
        tc.train([path], None, short_run.config.replace({"model.blocks": 2}), copied, resume=True, progress=False)
    assert configuration.load(copied / "config.json") == short_run.config


def test_a_run_begun_with_masks_is_not_resumed_without_them(eagerly, path, tmp_path):
    masks = Volume(tc.simulate_stack((20, 48, 52), seed=3).truth.array)
    run = tc.train([path], [masks], SHORT, tmp_path / "run", progress=False)
    before = content_of(run.path)
    with pytest.raises(errors.ModelError, match="begun with 2 stacks, not 1"):
        tc.train([path], None, None, run.path, resume=True, progress=False)
    assert content_of(run.path) == before


def test_a_run_is_not_resumed_with_other_stacks_or_another_order(eagerly, folder, path, tmp_path):
    other = write_volume(tmp_path / "cells.tif", tc.simulate_stack((20, 48, 52), seed=2).image)
    run = tc.train([path, other], None, SHORT, tmp_path / "run", progress=False)
    before = content_of(run.path)
    for images, said in (
        ([path, path], "another cells.tif"),
        ([other, path], "another cells.tif"),
        ([path], "2 stacks"),
    ):
        with pytest.raises(errors.ModelError, match=f"was begun with {said}"):
            tc.train(images, None, None, run.path, resume=True, progress=False)
    assert content_of(run.path) == before
    renamed = shutil.copy(other, tmp_path / "moved.tif")
    assert tc.train([path, renamed], None, None, run.path, resume=True, progress=False).verdict == "finished"


@pytest.mark.parametrize("content", [None, "{", "[]", '{"inputs": [1]}'])
def test_a_run_without_a_readable_manifest_is_not_resumed(copied, path, content):
    (copied / "manifest.json").unlink()
    if content is not None:
        (copied / "manifest.json").write_text(content)
    with pytest.raises(errors.ModelError, match=r"no readable manifest\.json"):
        tc.train([path], None, None, copied, resume=True, progress=False)


def test_epochs_after_the_checkpoint_are_forgotten_when_resuming(eagerly, short_run, copied, path):
    with (copied / "metrics.csv").open("a") as file:
        file.write("2,2,0.1,start,1" + "," * len([*LOSSES, *RATES]) + "\n")
    (copied / "previews" / "epoch_0002.png").write_bytes(b"of an epoch that is done again")
    tc.train([path], None, None, copied, resume=True, progress=False)
    assert [row["epoch"] for row in rows_of(copied)] == ["1"]
    assert [preview.name for preview in (copied / "previews").iterdir()] == ["epoch_0001.png"]


@pytest.mark.parametrize("content", ["nothing", "a folder", "a stranger's folder", "no checkpoint", "damage"])
def test_a_folder_that_is_no_run_cannot_be_resumed(short_run, path, tmp_path, content):
    output = tmp_path / "run"
    if content in ("a folder", "a stranger's folder"):
        output.mkdir()
    if content == "a stranger's folder":
        (output / "notes.txt").write_text("mine")
    if content in ("no checkpoint", "damage"):
        shutil.copytree(short_run.path, output)
    if content == "no checkpoint":
        shutil.rmtree(output / "checkpoints")
    if content == "damage":
        (output / "checkpoints" / "epoch_0001.npz").write_bytes(b"PK\x03\x04")
    before = content_of(output)
    with pytest.raises(errors.ModelError, match=re.escape(str(output))):
        tc.train([path], None, None, output, resume=True, progress=False)
    assert content_of(output) == before
    assert output.exists() == (content != "nothing")


def test_a_run_stops_when_its_time_is_up_and_still_writes_everything_and_says_it_is_short(path, tmp_path, caplog):
    endless = SHORT.replace({"training.epochs": 50, "training.steps_per_epoch": 100_000, "training.max_minutes": 0.05})
    begun = time.monotonic()
    run = tc.train([path], None, endless, tmp_path / "run", progress=False)
    assert time.monotonic() - begun < 120
    assert (run.verdict, run.exit_status) == ("finished", 0)
    assert {path.name for path in run.path.iterdir()} == FILES
    manifest = manifest_of(run.path)
    assert 1 <= manifest["steps"] < 5000
    assert manifest["timings"]["total_minutes"] >= 0.05
    (row,) = rows_of(run.path)
    assert int(row["step"]) == manifest["steps"]
    said = f"the 0.05 minutes were up after {manifest['steps']} of 5000000 steps: so few usually give a poorer result"
    for place in (run.warnings[0], manifest["warnings"][0], (run.path / "report.html").read_text(), caplog.text):
        assert said in place
    assert tc.load_model(run.path).classes == ("golgi", "nuclei")


@pytest.mark.parametrize(
    ("verdict", "minutes", "steps", "short"),
    [
        ("finished", 1, 299, True),
        ("finished", 1, 300, False),
        ("finished", None, 299, False),
        ("interrupted", 1, 299, False),
    ],
)
def test_only_a_training_that_the_clock_ended_early_is_called_short(verdict, minutes, steps, short):
    lengths = {"training.epochs": 6, "training.steps_per_epoch": 100, "training.max_minutes": minutes}
    assert bool(_cut_short(verdict, Clock(3, steps, 60.0), TINY.replace(lengths))) == short


@pytest.mark.parametrize(
    ("start", "minutes", "steps", "hardly"),
    [(0.8, 1, 2, True), (0.8, 1, 29, True), (0.8, 1, 30, False), (0.8, None, 2, False), (0.0, 1, 2, False)],
)
def test_a_training_says_where_the_clock_left_little_to_its_adversarial_part(start, minutes, steps, hardly):
    lengths = {"training.epochs": 6, "training.steps_per_epoch": 100, "training.max_minutes": minutes}
    config = TINY.replace(lengths | {"training.start_fraction": start})
    said = _hardly_adversarial(config.training, steps)
    assert said == [] if not hardly else f"{steps} of 120 steps to the adversarial part" in said[0]


def test_a_run_that_diverges_keeps_what_was_good_and_says_so(eagerly, path, tmp_path, monkeypatch):
    real = CycleGANTrainer.step

    def diverging(self, index, progress, rate):
        values = real(self, index, progress, rate)
        return {name: value * float("nan") for name, value in values.items()} if index == 1 else values

    monkeypatch.setattr(CycleGANTrainer, "step", diverging)
    run = tc.train([path], None, SHORT.replace({"training.epochs": 4}), tmp_path / "run", progress=False)
    assert (run.verdict, run.exit_status) == ("diverged", 3)
    assert manifest_of(run.path)["verdict"] == "diverged"
    report = (run.path / "report.html").read_text()
    assert "a loss was no longer a finite number" in report
    assert report.count("the training went back to epoch 1") == 3
    assert [(one["from_epoch"], one["to_epoch"]) for one in manifest_of(run.path)["returns"]] == [(1, 1)] * 3
    assert any("stopped: a loss is not finite at step 2" in warning for warning in run.warnings)
    assert [row["epoch"] for row in rows_of(run.path)] == ["1"]
    assert checkpoint_of(run.path, 1)["clock/step"] == 1
    assert all(np.isfinite(weight).all() for weight in weights_of(run.path))


FULL_DISK = [
    ("metrics.csv", "csv.DictWriter.writerow"),
    ("image_to_mask.keras", "keras.Model.save"),
    ("epoch_0002.png", "matplotlib.figure.Figure.savefig"),
    ("logs", "tensorflow.summary.scalar"),
]


@pytest.mark.parametrize(("name", "writer"), FULL_DISK)
def test_a_full_disk_is_the_users_error_and_leaves_what_was_written_before(
    eagerly, short_run, copied, path, monkeypatch, name, writer
):
    before = content_of(copied)

    def fail(*_, **__):
        if name == "logs":
            raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writer, fail)
    longer = short_run.config.replace({"training.epochs": 2})
    with pytest.raises(errors.OutputError, match=rf"{re.escape(name)}: cannot be written \(No space left on device\)"):
        tc.train([path], None, longer, copied, resume=True, progress=False)
    after = content_of(copied)
    rewritten = {copied / kept for kept in ("config.json", "manifest.json", "metrics.csv")}
    if not name.endswith(".keras"):  # Those are made from the checkpoint anew, and hold the same.
        rewritten |= set(copied.glob("*.keras"))
    for weight, of_before in zip(weights_of(copied), weights_of(short_run.path), strict=True):
        np.testing.assert_array_equal(weight, of_before)
    assert {file: after[file] for file in before.keys() - rewritten} == {
        file: before[file] for file in before.keys() - rewritten
    }
    assert rows_of(copied)[0] == rows_of(short_run.path)[0]
    assert not [file for file in after if "unfinished" in file.name]


def test_a_full_disk_leaves_the_report_of_before(eagerly, copied, path, monkeypatch):
    before = (copied / "report.html").read_text()
    real = Path.write_text

    def fail(place, text, *arguments, **options):
        if "report.html" in place.name:
            real(place, text[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(place, text, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(errors.OutputError, match=r"report\.html: cannot be written"):
        tc.train([path], None, None, copied, resume=True, progress=False)
    assert (copied / "report.html").read_text() == before
    assert not list(copied.glob("*unfinished*"))


# ---- what exists already


def test_an_existing_run_is_not_replaced_unasked(short_run, copied, path):
    before = content_of(copied)
    with pytest.raises(errors.OutputExistsError, match=re.escape(str(copied))):
        tc.train([path], None, SHORT, copied, progress=False)
    assert content_of(copied) == before


def test_overwriting_replaces_the_run_and_leaves_other_files_alone(eagerly, copied, path):
    (copied / "notes.txt").write_text("mine")
    (copied / "previews" / "epoch_0009.png").write_bytes(b"old")
    (copied / "demo").mkdir()
    run = tc.train([path], None, SHORT.replace({"seed": 5}), copied, overwrite=True, progress=False)
    assert {file.name for file in copied.iterdir()} == FILES | {"notes.txt"}
    assert (copied / "notes.txt").read_text() == "mine"
    assert [preview.name for preview in (copied / "previews").iterdir()] == ["epoch_0001.png"]
    assert configuration.load(copied / "config.json") == run.config
    assert run.config.seed == 5


def test_a_folder_with_other_files_gets_a_run_beside_them(eagerly, path, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    run = tc.train(read_volume(path), None, SHORT, tmp_path, progress=False)
    assert {file.name for file in tmp_path.iterdir()} == FILES | {"notes.txt"}
    assert manifest_of(run.path)["inputs"] == [{"name": "cells", "sha256": None}]


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ([(0.5, 0.2, 0.2)], [0.5, 0.2, 0.2]),
        ([(0.5, 0.2, 0.2), (0.50001, 0.2, 0.2)], [0.5, 0.2, 0.2]),
        ([(0.5, 0.2, 0.2), (1.0, 0.2, 0.2)], None),
        ([(0.5, 0.2, 0.2), None], None),
        ([None, (0.5, 0.2, 0.2)], None),
        ([], None),
    ],
)
def test_the_manifest_has_the_voxel_size_that_all_images_share(sizes, told):
    grids = [Grid((4, 5, 6), 2, size, "cells") for size in sizes]
    described = described_grids(grids)
    assert described["voxel_size_um"] == told
    assert [one["voxel_size_um"] for one in described["grids"]] == [size and list(size) for size in sizes]
    assert all((one["name"], one["shape"]) == ("cells", [4, 5, 6]) for one in described["grids"])


@pytest.mark.parametrize("wrong", ["stack", "settings", "file in the way"])
def test_nothing_is_written_when_the_users_input_cannot_be_used(path, tmp_path, wrong):
    output = tmp_path / "new" / "run"
    images, config = [path], SHORT
    if wrong == "stack":
        images = [path, Volume(np.zeros((9, 9, 9, 2)), None, "dark")]
    if wrong == "settings":
        config = SHORT.replace({"synthesis.diameters": {"er": 5}})
    if wrong == "file in the way":
        output.parent.mkdir()
        output.write_text("mine")
    with pytest.raises(errors.UserError):
        tc.train(images, None, config, output, progress=False)
    if wrong == "file in the way":
        assert output.read_text() == "mine"
    else:
        assert not output.parent.exists()


# ---- the model


@pytest.fixture(scope="module")
def model(whole):
    return tc.load_model(whole.path)


def test_a_stack_of_one_tile_is_segmented_as_the_network_itself_does(model, whole, path):
    volume = read_volume(path)
    cut = Volume(volume.array[:16, :32, :32], volume.voxel_size_um, "cut")
    coarse = cut.array.astype(float).reshape(16, 16, 2, 16, 2, 2).mean(axis=(2, 4))
    low, high = np.percentile(coarse, (1, 99.8), axis=(0, 1, 2))
    scaled = np.clip((coarse - low) / (high - low) * 2 - 1, -1, 1)
    network = keras.saving.load_model(whole.path / "image_to_mask.keras", compile=False)
    output = (network(scaled[None].astype(np.float32)).numpy()[0] + 1) / 2
    wanted = preprocessing.upsample(output, (1, 2, 2), (16, 32, 32))
    found = model.predict(cut)
    np.testing.assert_allclose(found.array, wanted, atol=2e-3)
    assert np.ptp(found.array) > 0.05


@pytest.mark.parametrize("shape", [(20, 48, 52), (17, 33, 41), (5, 7, 9), (1, 20, 30), (2, 1, 3)])
def test_a_prediction_has_the_stacks_shape_voxel_size_and_name_and_lies_in_nought_to_one(model, path, shape):
    cut = tuple(slice(0, side) for side in shape)
    seen = []
    volume = Volume(read_volume(path).array[cut], VOXEL_SIZE, "mine")
    before = volume.array.copy()
    prediction = model.predict(volume, lambda done, total: seen.append((done, total)))
    assert prediction.array.shape == (*shape, 2)
    assert prediction.array.dtype == np.float32
    assert (prediction.voxel_size_um, prediction.name) == (VOXEL_SIZE, "mine")
    assert 0 <= prediction.array.min() < prediction.array.max() <= 1
    assert [done for done, _ in seen] == list(range(1, seen[-1][1] + 1))
    np.testing.assert_array_equal(volume.array, before)


def test_the_segmentation_is_where_the_probability_exceeds_the_runs_threshold(model, path):
    volume = read_volume(path)
    mask = model.segment(volume)
    np.testing.assert_array_equal(mask.array, model.predict(volume).array > model.config.inference.threshold)
    assert mask.array.dtype == bool


def test_a_prediction_does_not_depend_on_the_units_of_the_intensities(model, path):
    volume = read_volume(path)
    brighter = Volume(volume.array.astype(np.float32) * 7 + 300, VOXEL_SIZE)
    np.testing.assert_allclose(model.predict(brighter).array, model.predict(volume).array, atol=1e-3)


@pytest.mark.parametrize("n_channels", [1, 3])
def test_a_stack_of_another_number_of_channels_is_an_error_that_names_the_classes(model, n_channels):
    volume = Volume(np.random.default_rng(0).random((9, 9, 9, n_channels)), None, "cells")
    with pytest.raises(errors.ModelError, match=f"golgi, nuclei, but cells has {n_channels} channel"):
        model.predict(volume)


@pytest.mark.parametrize(("value", "said"), [(3, "constant"), (np.nan, "NaN")])
def test_a_stack_that_shows_nothing_cannot_be_segmented(model, value, said):
    with pytest.raises(errors.VolumeContentError, match=said):
        model.predict(Volume(np.full((9, 9, 9, 2), value), None, "dark"))


def test_a_model_computes_in_bfloat16_what_it_does_in_float32(whole, model, path):
    network = keras.saving.load_model(whole.path / "image_to_mask.keras", compile=False)
    half = predictor.SegmentationModel(network, whole.config.replace({"training.mixed_precision": "bfloat16"}))
    volume = read_volume(path)
    found, wanted = half.predict(volume).array, model.predict(volume).array
    np.testing.assert_allclose(found, wanted, atol=0.05)
    assert (found != wanted).any()


@pytest.mark.parametrize("content", ["nothing", "a folder", "a file", "no network", "garbage", "cut", "flipped"])
def test_a_folder_that_is_no_run_or_a_damaged_one_is_no_model(short_run, tmp_path, content):
    path = tmp_path / "run"
    if content == "a folder":
        path.mkdir()
    if content == "a file":
        path.write_text("no model")
    if content in ("no network", "garbage", "cut", "flipped"):
        shutil.copytree(short_run.path, path)
        network = path / "image_to_mask.keras"
        whole = network.read_bytes()
        middle = len(whole) // 2
        damaged = {"garbage": b"no zip", "cut": whole[:middle]}
        damaged["flipped"] = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
        network.unlink() if content == "no network" else network.write_bytes(damaged[content])
    with pytest.raises(errors.UserError, match=re.escape(str(path))) as caught:
        tc.load_model(path)
    assert "\n" not in str(caught.value)
    assert "; " in str(caught.value)


def test_a_run_whose_configuration_is_damaged_is_no_model(copied):
    (copied / "config.json").write_text('{"preset": ')
    with pytest.raises(errors.ConfigError, match=r"config\.json"):
        tc.load_model(copied)
