"""The two-stage method trains a CycleGAN, or takes one, and a U-Net on the pairs it makes; no label takes part."""

from __future__ import annotations

import json
import os
import shutil
import signal

import keras
import numpy as np
import pytest

import tfcyclegan3d as tc
from tests.tiny import TINY
from tfcyclegan3d import config as configuration
from tfcyclegan3d import errors, presets
from tfcyclegan3d.cli.main import main
from tfcyclegan3d.experiments import two_stage
from tfcyclegan3d.noise import noise_deviation
from tfcyclegan3d.synthesis.simulation import simulate_stack
from tfcyclegan3d.training.cyclegan_trainer import CycleGANTrainer
from tfcyclegan3d.training.run_folder import RunFolder
from tfcyclegan3d.training.supervised_trainer import SupervisedTrainer
from tfcyclegan3d.volumes import write_volume

CONFIG = TINY.replace(
    {"training.epochs": 1, "training.steps_per_epoch": 2, "preprocessing.downsampling": [1, 1, 1], "seed": 4}
)
SEGMENTER = presets.with_method(CONFIG, "two-stage").replace({"model.filters": 4, "supervised.levels": 2})


@pytest.fixture(scope="module")
def image():
    return simulate_stack((16, 40, 40), seed=2).image


@pytest.fixture(scope="module")
def trained(image, tmp_path_factory):
    output = tmp_path_factory.mktemp("two-stage") / "run"
    return tc.train_two_stage([image], CONFIG, output, segmenter=SEGMENTER, progress=False)


def test_both_stages_are_run_folders(trained):
    assert (trained.path / "image_to_mask.keras").exists()
    assert (trained.path / "cyclegan" / "mask_to_image.keras").exists()
    manifest = RunFolder(trained.path).read_manifest()
    assert manifest["method"] == "two-stage"
    assert RunFolder(trained.path / "cyclegan").read_manifest()["method"] == "cyclegan"
    assert any("synthetic masks" in note for note in manifest["notes"])


def test_it_segments_on_the_grid_and_contrast_of_its_first_stage(trained, image):
    first, second = (
        json.loads((folder / "config.json").read_text()) for folder in (trained.path / "cyclegan", trained.path)
    )
    assert second["preprocessing"] == first["preprocessing"]
    assert second["classes"] == first["classes"]
    assert tc.load_model(trained.path).predict(image).array.shape == image.array.shape


def test_its_pairs_are_synthetic_masks_and_what_the_first_stage_makes_of_them(trained, image):
    prepared = two_stage.prepare_generated(two_stage.Stacks([image]), None, trained.path / "cyclegan", trained.config)
    images = [*prepared.training.images, *prepared.validation.images]
    masks = [*prepared.training.masks, *prepared.validation.masks]
    assert len(images) == TINY.synthesis.n_masks
    import keras

    network = keras.saving.load_model(trained.path / "cyclegan" / "mask_to_image.keras", compile=False)
    side = TINY.inference.tile_shape[0]
    corner = (slice(0, side),) * 3
    expected = network.predict_on_batch(2 * masks[0][corner][np.newaxis] - 1)[0]
    # Where no other tile reaches, the picture is the network's own, with the noise that it lacks beside the stack.
    inner = (slice(0, side - TINY.inference.overlap),) * 3
    added = (images[0][corner][inner] - expected[inner]).reshape(-1, 2)
    stack = two_stage.prepare(
        two_stage.Stacks([image]), None, configuration.load(trained.path / "cyclegan" / "config.json")
    ).images[0]
    lacking = noise_deviation(stack) ** 2 - noise_deviation(expected) ** 2
    np.testing.assert_allclose(added.std(axis=0), np.sqrt(np.maximum(lacking, 0)), rtol=0.15, atol=0.01)


def test_a_finished_first_stage_is_not_trained_again(trained, image, tmp_path, monkeypatch):
    monkeypatch.setattr(two_stage, "train", lambda *_, **__: pytest.fail("trained again"))
    given = tc.train_two_stage(
        [image], CONFIG, tmp_path / "run", segmenter=SEGMENTER, cyclegan_run=trained.path / "cyclegan", progress=False
    )
    rows = [RunFolder(run.path).read_metrics()[-1] for run in (trained, given)]
    assert rows[0]["validation/mean"] == rows[1]["validation/mean"]
    again = tc.train_two_stage([image], CONFIG, trained.path, segmenter=SEGMENTER, resume=True, progress=False)
    assert again.verdict == trained.verdict


def test_stopped_in_either_stage_it_goes_on_from_the_command_line(trained, image, tmp_path, monkeypatch, capsys):
    stack, output = tmp_path / "stack.tif", tmp_path / "run"
    write_volume(stack, image)
    CONFIG.save(tmp_path / "settings.json")
    given = ["train", "--images", str(stack), "-o", str(output), "--quiet"]
    small = ["--set", "model.filters=4", "--set", "supervised.levels=2"]

    def train_until(trainer):
        real = trainer.step

        def interrupt(*step):
            os.kill(os.getpid(), signal.SIGINT)
            return real(*step)

        with monkeypatch.context() as patch:
            patch.setattr(trainer, "step", interrupt)
            begun = ["--method", "two-stage", "--config", str(tmp_path / "settings.json")]
            return main([*given, *(["--resume"] if output.exists() else begun), *small])

    assert train_until(CycleGANTrainer) == 130
    assert not (output / "config.json").exists()
    assert train_until(SupervisedTrainer) == 130
    assert RunFolder(output / "cyclegan").read_manifest()["verdict"] not in ("running", "interrupted")
    assert main([*given, "--resume", *small]) in (0, 3)
    assert RunFolder(output).read_manifest()["method"] == "two-stage"
    assert len(RunFolder(output).read_metrics()) == 1


def test_a_run_is_repeated_from_its_settings(trained, image, tmp_path, capsys):
    stack = tmp_path / "stack.tif"
    write_volume(stack, image)
    given = ["train", "--images", str(stack), "--quiet", "--config"]
    assert main([*given, str(trained.path / "config.json"), "-o", str(tmp_path / "again")]) in (0, 3)
    for stage in (".", "cyclegan"):
        one, other = (configuration.load(run / stage / "config.json") for run in (trained.path, tmp_path / "again"))
        assert one == other
    shutil.copy(trained.path / "config.json", tmp_path / "alone.json")
    capsys.readouterr()
    assert main([*given, str(tmp_path / "alone.json"), "-o", str(tmp_path / "more")]) == 2
    assert "alone.json'; leave it in its run: " in capsys.readouterr().err
    assert not (tmp_path / "more").exists()


def test_what_is_no_cyclegan_is_refused_and_nothing_is_left(image, tmp_path):
    with pytest.raises(errors.ModelError, match="no run folder of a CycleGAN"):
        tc.train_two_stage([image], CONFIG, tmp_path / "run", cyclegan_run=tmp_path, progress=False)
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_replaced_unasked(trained, image):
    with pytest.raises(errors.OutputExistsError):
        tc.train_two_stage([image], CONFIG, trained.path, segmenter=SEGMENTER, progress=False)


def test_what_is_no_run_is_not_resumed_and_keeps_its_files(trained, image, tmp_path):
    for cyclegan_run in (trained.path / "cyclegan", None):
        notes = tmp_path / "logs" / "mine.txt"
        notes.parent.mkdir(exist_ok=True)
        notes.write_text("mine")
        with pytest.raises(errors.ModelError, match="holds no run to resume"):
            tc.train_two_stage(
                [image],
                CONFIG,
                tmp_path,
                segmenter=SEGMENTER,
                cyclegan_run=cyclegan_run,
                resume=True,
                progress=False,
            )
        assert [*tmp_path.rglob("*")] == [notes.parent, notes]


def test_a_second_stage_of_another_first_one_begins_anew_or_is_refused(trained, image, tmp_path):
    """As an interrupted ``--overwrite`` leaves it: a new CycleGAN beside the U-Net of the old one."""
    run, other = tmp_path / "run", tmp_path / "other"
    shutil.copytree(trained.path, run)
    network = keras.saving.load_model(run / "cyclegan" / "mask_to_image.keras", compile=False)
    network.set_weights([0.9 * weights for weights in network.get_weights()])
    network.save(run / "cyclegan" / "mask_to_image.keras")
    shutil.copytree(run / "cyclegan", other)
    before = (run / "image_to_mask.keras").read_bytes()
    tc.train_two_stage([image], CONFIG, run, segmenter=SEGMENTER, resume=True, progress=False)
    assert (run / "image_to_mask.keras").read_bytes() != before
    with pytest.raises(errors.ModelError, match=r"mask_to_image\.keras"):
        tc.train_two_stage([image], CONFIG, trained.path, cyclegan_run=other, resume=True, progress=False)


def test_a_second_stage_that_died_before_it_could_be_resumed_begins_anew_beside_its_first(trained, image, tmp_path):
    shutil.copytree(trained.path / "cyclegan", tmp_path / "cyclegan")
    (tmp_path / "metrics.csv").write_text("half")
    again = tc.train_two_stage([image], CONFIG, tmp_path, segmenter=SEGMENTER, resume=True, progress=False)
    assert again.verdict == trained.verdict
    assert len(RunFolder(tmp_path).read_metrics()) == 1
