"""``train --method`` and ``crossval`` from the command line: one line for each mistake, nothing left behind."""

from __future__ import annotations

import pytest

from tfcyclegan3d.cli.main import main
from tfcyclegan3d.synthesis.simulation import simulate_stack
from tfcyclegan3d.volumes import write_volume


@pytest.fixture(scope="module")
def stacks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stacks")
    for i in range(3):
        made = simulate_stack((16, 32, 32), seed=(3, i))
        write_volume(folder / f"stack_{i}.tif", made.image)
        write_volume(folder / f"truth_{i}.tif", made.truth)
    return str(folder)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["train", "--images", "S", "--method", "unet"], "--truth"),
        (["train", "--images", "S", "--truth", "S"], "--truth"),
        (["train", "--images", "S", "--truth", "S", "--masks", "S", "--method", "vox2vox"], "--masks"),
        (["train", "--images", "S", "--cyclegan-run", "S"], "--cyclegan-run"),
        (["train", "--images", "S", "--method", "two-stage", "--cyclegan-run", "S"], "no run folder of a CycleGAN"),
        (["train", "--demo", "--method", "unet"], "--demo"),
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
def test_a_mistake_is_one_line_and_leaves_nothing(given, says, stacks, tmp_path, capsys):
    output = tmp_path / "out"
    arguments = [stacks if one == "S" else one for one in given]
    try:
        status = main([*arguments, "-o", str(output), "--quiet"])
    except SystemExit as error:
        status = error.code
    said = capsys.readouterr().err.strip().splitlines()
    assert status == 2
    assert says in said[-1]
    assert not output.exists()


def test_thresholds_alone_are_compared_in_seconds(stacks, tmp_path, capsys):
    output = tmp_path / "out"
    how = ["--images", stacks, "--truth", stacks, "--methods", "otsu,smoothed-otsu", "-o", str(output), "--quiet"]
    assert main(["crossval", *how]) == 0
    assert "smoothed-otsu" in capsys.readouterr().out
    assert main(["crossval", *how]) == 2
    assert main(["crossval", *how, "--resume"]) == 0
    assert (output / "table2.csv").exists()
