"""``train --method`` and ``crossval`` from the command line: one line for each mistake, nothing left behind."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.eagerly import run_eagerly
from tests.tiny import TINY
from tfcyclegan3d import errors, presets
from tfcyclegan3d.cli.main import main
from tfcyclegan3d.experiments import methods
from tfcyclegan3d.synthesis.simulation import simulate_stack
from tfcyclegan3d.volumes import Volume, write_volume


@pytest.fixture(scope="module")
def stacks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stacks")
    for i in range(3):
        made = simulate_stack((16, 32, 32), seed=(3, i))
        write_volume(folder / f"stack_{i}.tif", made.image)
        write_volume(folder / f"truth_{i}.tif", made.truth)
    return str(folder)


@pytest.fixture(scope="module")
def of_unet(tmp_path_factory):
    """Settings of a small U-Net, as a run writes them."""
    small = {"model.filters": 4, "supervised.levels": 2, "training.epochs": 1, "training.steps_per_epoch": 1}
    path = tmp_path_factory.mktemp("settings") / "config.json"
    path.write_text(json.dumps(presets.with_method(TINY, "unet").replace(small).to_dict()))
    return str(path)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["train", "--images", "S", "--method", "unet"], "--truth"),
        (["train", "--images", "S", "--truth", "S"], "--truth"),
        (["train", "--images", "S", "--truth", "S", "--masks", "S", "--method", "vox2vox"], "--masks"),
        (["train", "--images", "S", "--cyclegan-run", "S"], "--cyclegan-run"),
        (["train", "--images", "S", "--method", "two-stage", "--cyclegan-run", "S"], "no run folder of a CycleGAN"),
        (["train", "--images", "S", "--config", "U", "--method", "cyclegan"], "--method: received 'cyclegan'; leave"),
        (["train", "--images", "S", "--config", "U", "--method", "two-stage"], "the settings are of unet; or give --p"),
        (["train", "--images", "S", "--truth", "S", "--config", "U", "--method", "vox2vox"], "--method: received 'vox"),
        (["train", "--demo", "--method", "unet"], "--demo"),
        (
            ["train", "--images", "S", "--truth", "S", "--set", "method=unet"],
            "received 'method=unet'; give --me",
        ),
        (["train", "--images", "S", "--set", "preset=best"], "give --preset best"),
        (["train", "--images", "S", "--method", "pix2pix"], "--method"),
        (["crossval"], "--images"),
        (["crossval", "--images", "S"], "--truth"),
        (["crossval", "--demo", "--images", "S"], "--demo"),
        (["crossval", "--images", "S", "--truth", "S", "--methods", "otsu,cellpose"], "cellpose"),
        (["crossval", "--images", "S", "--truth", "S", "--folds", "2"], "--folds"),
        (["crossval", "--images", "S", "--truth", "S", "--folds", "4"], "--images"),
        (["crossval", "--images", "S", "--truth", "S", "--seeds", "0"], "--seeds"),
        (["crossval", "--images", "S", "--truth", "S", "--set", "training.epoch=1"], "training.epoch"),
        (["crossval", "--images", "S", "--truth", "S", "--labelling-hours", "-1"], "--labelling-hours"),
        (["crossval", "--images", "S", "--truth", "S", "--resume"], "no cross-validation to resume"),
        (["crossval", "--images", "S", "--layout", "authors"], "Images"),
        (["crossval", "--images", "missing", "--truth", "S"], "missing"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(given, says, stacks, of_unet, tmp_path, capsys):
    output = tmp_path / "out"
    arguments = [{"S": stacks, "U": of_unet}.get(one, one) for one in given]
    try:
        status = main([*arguments, "-o", str(output), "--quiet"])
    except SystemExit as error:
        status = error.code
    said = capsys.readouterr().err.strip().splitlines()
    assert status == 2
    assert says in said[-1]
    assert not output.exists()


def test_a_training_does_not_go_on_with_another_truth(stacks, of_unet, tmp_path, capsys):
    run, others = tmp_path / "run", tmp_path / "others"
    others.mkdir()
    for i in range(3):
        made = simulate_stack((16, 32, 32), seed=(4, i))
        write_volume(others / f"truth_{i}.tif", made.truth)
    given = ["train", "--images", stacks, "-o", str(run), "--quiet"]
    with run_eagerly():
        assert main([*given, "--truth", stacks, "--config", of_unet]) == 0
        names = [one["name"] for one in json.loads((run / "manifest.json").read_text())["inputs"]]
        assert names == [f"{kind}_{i}.tif" for kind in ("stack", "truth") for i in range(3)]
        capsys.readouterr()
        assert main([*given, "--truth", str(others), "--resume"]) == 2
        said = capsys.readouterr().err.strip()
        assert "was begun with another truth_0.tif than the truth_0.tif given" in said and "\n" not in said
        assert main([*given, "--truth", stacks, "--resume", "--epochs", "2"]) == 0


def test_thresholds_alone_are_compared_in_seconds(stacks, tmp_path, capsys):
    output = tmp_path / "out"
    how = ["--images", stacks, "--truth", stacks, "--methods", "otsu,smoothed-otsu", "-o", str(output), "--quiet"]
    assert main(["crossval", *how]) == 0
    assert "smoothed-otsu" in capsys.readouterr().out
    assert main(["crossval", *how]) == 2
    assert main(["crossval", *how, "--resume"]) == 0
    assert (output / "table2.csv").exists()


@pytest.mark.parametrize(
    ("n_failing", "says"),
    [
        (3, "no cell is done, so there are no tables and figures"),
        (1, "table1.csv, table1.md, table2.csv, table2.md, scores.csv, scores.md"),
        (0, "table1.csv, table1.md, table2.csv, table2.md, scores.csv, scores.md, figure1.png, figure3.png"),
    ],
)
def test_no_table_or_figure_is_named_that_was_not_written(n_failing, says, stacks, tmp_path, capsys, monkeypatch):
    real, failing = methods.threshold, iter(range(n_failing))

    def threshold(*given):
        if next(failing, None) is not None:
            raise RuntimeError("out of luck")
        return real(*given)

    monkeypatch.setattr(methods, "threshold", threshold)
    output = tmp_path / "out"
    how = ["--images", stacks, "--truth", stacks, "--methods", "otsu", "-o", str(output), "--quiet"]
    assert main(["crossval", *how]) == (3 if n_failing else 0)
    assert capsys.readouterr().out.splitlines()[-1] == f"{output}: {says}"


@pytest.mark.parametrize(
    ("method", "where"), [("cyclegan", "training.run.train"), ("two-stage", "experiments.two_stage.train_two_stage")]
)
def test_of_a_folder_given_as_masks_the_masks_alone_are_trained_against(tmp_path, monkeypatch, method, where):
    for name in ("stack_000", "truth_000", "objects_000"):
        write_volume(tmp_path / f"{name}.tif", Volume(np.ones((4, 8, 8, 2), np.uint8)))
    given = []

    def noting(images, *others, masks=None, **_):
        given.extend(masks or others[0])
        raise errors.OptionError("--masks", "enough", "end here")

    monkeypatch.setattr(f"tfcyclegan3d.{where}", noting)
    words = ["--images", tmp_path, "--masks", tmp_path, "--method", method, "-o", tmp_path / "run"]
    assert main(["train", *map(str, words)]) == 2
    assert [path.name for path in given] == ["truth_000.tif"]
