"""Centres of objects as channels of the masks: what they are, and that training, prediction and export cope."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfcyclegan3d as tc
from tests.tiny import TINY
from tfcyclegan3d import errors, losses
from tfcyclegan3d.cli.main import main
from tfcyclegan3d.exporting.export import export_model
from tfcyclegan3d.inference.making import make_blocks, prepare
from tfcyclegan3d.inference.predictor import SegmentationModel, load_model
from tfcyclegan3d.inference.whole_stacks import Wanted, job_of
from tfcyclegan3d.inference.workspace import CENTRES, MASK, Workspace
from tfcyclegan3d.models.portable import with_first_outputs
from tfcyclegan3d.models.resnet_generator import resnet_generator
from tfcyclegan3d.objects import blockwise, numbering
from tfcyclegan3d.preprocessing import CoarseObjects
from tfcyclegan3d.scratch import ScratchFile
from tfcyclegan3d.synthesis.centres import centre_distances
from tfcyclegan3d.training import on_disk
from tfcyclegan3d.training.cyclegan_trainer import CycleGANTrainer
from tfcyclegan3d.training.preparation import prepare as prepare_training

SETTINGS = TINY.replace(
    {
        "synthesis.centres": True,
        "training.epochs": 3,
        "training.steps_per_epoch": 2,
        "training.start_fraction": 0.4,
        "monitors.n_probes": 2,
    }
)


def row(*numbers: int) -> np.ndarray:
    return np.array(numbers)[np.newaxis, np.newaxis, :, np.newaxis]


def test_centres_are_distances_from_outside_as_shares_of_each_objects_largest():
    found = centre_distances(row(0, 3, 3, 3, 3, 3, 0, 5, 0), (1, 1, 1))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, row(0, 1, 2, 3, 2, 1, 0, 3, 0) / 3)


def test_objects_that_touch_each_have_a_centre_of_their_own():
    np.testing.assert_allclose(
        centre_distances(row(0, 1, 1, 1, 2, 2, 2, 0), (1, 1, 1)), row(0, 1, 2, 1, 1, 2, 1, 0) / 2
    )


def test_the_middle_of_an_object_that_the_volumes_end_cuts_lies_there():
    np.testing.assert_allclose(centre_distances(row(1, 1, 1, 0), (1, 1, 1)), row(3, 2, 1, 0) / 3)
    assert (centre_distances(row(1, 1, 1), (1, 1, 1)) == 1).all()


def test_distances_are_those_of_space_and_not_of_voxels():
    numbers = np.zeros((5, 9, 9, 2), int)
    numbers[1:4, 2:7, 2:7, 1] = 4
    found = centre_distances(numbers, (10.0, 1.0, 1.0))
    assert not found[..., 0].any()
    # Along Z, outside is 10 away at least: what counts is the plane.
    np.testing.assert_allclose(found[2, 4, :, 1], np.array([0, 0, 1, 2, 3, 2, 1, 0, 0]) / 3)


def test_objects_show_their_coverage_and_then_their_centres(tmp_path):
    numbers = np.random.default_rng(1).integers(0, 3, (4, 6, 6, 2))
    plain = CoarseObjects.of(numbers, (1, 1, 1))
    assert plain.shown is plain.coverage
    shown = on_disk.with_centres(plain, (2, 1, 1), ScratchFile(tmp_path)).shown
    np.testing.assert_array_equal(shown[..., :2], plain.coverage)
    np.testing.assert_array_equal(shown[..., 2:], centre_distances(numbers, (2, 1, 1)))


def test_the_loss_of_centres_is_least_where_the_probability_is_the_share():
    mask, image = np.ones((1, 2, 2, 2, 2), np.float32), np.zeros((1, 2, 2, 2, 1), np.float32)
    mask[..., 1] = -0.4  # A share of 0.3.
    logits = np.full_like(mask, 5)

    def loss(probability: float) -> float:
        logits[..., 1] = np.arctanh(2 * probability - 1)
        return float(losses.paired_loss(mask, logits, np.tanh(logits), image, image, [4.0]))

    found = [loss(probability) for probability in (0.2, 0.28, 0.3, 0.32, 0.5)]
    assert np.argmin(found) == 2
    entropy = -0.3 * np.log(0.3) - 0.7 * np.log(0.7)
    of_mask = float(losses.segmentation_loss(mask[..., :1], logits[..., :1], np.tanh(logits[..., :1]), [4.0]))
    assert found[2] == pytest.approx(of_mask + entropy, rel=1e-4)


@pytest.fixture(scope="module")
def stack():
    return tc.simulate_stack((16, 40, 40), seed=1).image


@pytest.fixture(scope="module")
def run(stack, tmp_path_factory):
    folder = tmp_path_factory.mktemp("centres") / "run"
    return tc.train([stack], config=SETTINGS, output=folder, progress=False)


def test_a_training_with_centres_goes_through_and_watches_masks_alone(run):
    manifest = json.loads((run.path / "manifest.json").read_text())
    assert manifest["verdict"] != "running"
    rows = (run.path / "metrics.csv").read_text().splitlines()
    assert len(rows) == 1 + 3
    network = keras.saving.load_model(run.path / "mask_to_image.keras", compile=False)
    assert (network.inputs[0].shape[-1], network.outputs[0].shape[-1]) == (4, 2)


@pytest.mark.parametrize("changes", [{}, {"training.generator_update": "separate", "losses.cycle_mask": "l1"}])
def test_every_step_teaches_masks_and_centres(stack, changes):
    config = SETTINGS.replace({"losses.identity": 1.0, "losses.supervised": 1.0, **changes})
    trainer = CycleGANTrainer(prepare_training([stack], None, config))
    (mask,), pair = trainer._next("masks", 0), trainer._next("rendered", 0)
    assert [one.shape[-1] for one in (mask, *pair)] == [4, 2, 4]
    before = trainer.networks.image_to_mask.weights[-1].numpy().copy()
    for index, progress in enumerate((0.1, 0.6)):
        assert all(np.isfinite(float(value)) for value in trainer.step(index, progress).values())
    assert np.all(trainer.networks.image_to_mask.weights[-1].numpy() != before)
    seen, predicted = trainer.look()
    assert seen.masks.shape[-1] == seen.predicted.shape[-1] == predicted["raw"].shape[-1] == 2
    assert trainer.networks.mask_critic.inputs[0].shape[-1] == 4


def known(n_outputs: int, **changes: object) -> SegmentationModel:
    """Return a model whose output k is (k + 1) / 10 of its first channel's sign, whatever the tile."""
    inputs = keras.Input((None, None, None, 1))
    outputs = keras.layers.Conv3D(n_outputs, 1, name="mix")(inputs)
    network = keras.Model(inputs, outputs)
    shares = np.arange(1, n_outputs + 1, dtype=np.float32) / 10
    network.set_weights([shares.reshape(1, 1, 1, 1, -1), 0 * shares])
    settings = {"classes": ["nuclei"], "preprocessing.percentiles": [0, 100], "preprocessing.downsampling": [1, 2, 2]}
    return SegmentationModel(network, SETTINGS.replace({**settings, **changes}))


def test_centres_are_predicted_beside_probabilities_which_they_do_not_change():
    volume = tc.Volume(np.random.default_rng(1).random((16, 40, 24)).astype(np.float32)[..., np.newaxis], None, "s")
    model = known(2)
    probabilities, centres = model.predict_with_centres(volume)
    np.testing.assert_array_equal(probabilities.array, model.predict(volume).array)
    assert model.predict(volume).array.shape == centres.array.shape == (16, 40, 24, 1)
    np.testing.assert_allclose(centres.array - 0.5, 2 * (probabilities.array - 0.5), atol=1e-5)


def test_a_model_that_learned_no_centres_says_so():
    volume = tc.Volume(np.random.default_rng(1).random((16, 40, 24, 1)).astype(np.float32), None, "s")
    with pytest.raises(errors.ModelError, match=r"no centres.*synthesis\.centres=true"):
        known(1, **{"synthesis.centres": False}).predict_with_centres(volume)


def test_a_workspace_holds_centres_where_they_are_wanted(run, stack, tmp_path):
    tc.write_volume(tmp_path / "s.tif", stack)
    model = load_model(run.path)
    for wanted in (Wanted(centres=True), Wanted()):
        job = job_of(tmp_path / "s.tif", model, run.path, wanted, [])
        workspace = Workspace(tmp_path / f"work-{wanted.centres}")
        prepare(job, model, workspace)
        n_blocks = len(workspace.settled(model, stack.shape).plan.blocks)
        make_blocks(job, model, workspace, range(n_blocks), lambda: None)
        assert (workspace.folder / f"{CENTRES}.zarr").exists() == wanted.centres
        level = workspace.level(MASK)
        assert level.shape[0] == 2
        if wanted.centres:
            _, centres = model.predict_with_centres(stack)
            np.testing.assert_allclose(workspace.level(CENTRES)[...].transpose(1, 2, 3, 0), centres.array, atol=2e-3)


def test_the_command_writes_masks_of_the_classes_alone(run, stack, tmp_path):
    tc.write_volume(tmp_path / "s.tif", stack)
    out = tmp_path / "out"
    assert main(["predict", str(run.path), "--images", str(tmp_path / "s.tif"), "-o", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["s_mask.png", "s_mask.tif"]
    assert tc.read_volume(out / "s_mask.tif").n_channels == 2


def test_an_exported_model_gives_the_same_masks_without_centres(run, stack, tmp_path):
    exported = load_model(export_model(run.path, tmp_path / "model", "keras"))
    assert not exported.has_centres
    assert load_model(run.path).has_centres
    np.testing.assert_allclose(exported.predict(stack).array, load_model(run.path).predict(stack).array, atol=2e-2)


@pytest.fixture
def bar(tmp_path):
    """Return a folder with a stack, and a run whose masks and Golgi centres are channel 0, nuclei centres channel 1.

    Both channels show one bar, in which they are brighter at two and at three places.
    """
    inputs = keras.Input((None, None, None, 2))
    network = keras.Model(inputs, keras.layers.Conv3D(4, 1, name="mix")(inputs))
    kernel = np.array([[0.5, 0.5, 0.5, 0], [0, 0, 0, 0.5]], np.float32)
    network.set_weights([kernel.reshape(1, 1, 1, 2, 4), np.zeros(4, np.float32)])
    config = SETTINGS.replace(
        {
            "classes": ["golgi", "nuclei"],
            "preprocessing.percentiles": [0, 100],
            "preprocessing.downsampling": [1, 1, 1],
            "inference.halo": 4,
        }
    )
    (tmp_path / "run").mkdir()
    network.save(tmp_path / "run" / "image_to_mask.keras")
    config.save(tmp_path / "run" / "config.json")
    image, x = np.zeros((12, 40, 100, 2), np.float32), np.arange(100)
    for channel, places in enumerate([(24, 75), (20, 51, 80)]):
        peaks = sum(np.exp(-((x - place) ** 2) / 50) for place in places)
        image[2:10, 15:25, 8:92, channel] = (0.6 + 0.4 * peaks)[8:92]
    tc.write_volume(tmp_path / "bar.tif", tc.Volume(image, None, "bar"))
    return tmp_path


@pytest.mark.parametrize("suffix", ["tif", "zarr"])
def test_the_commands_objects_are_told_apart_by_learned_centres(bar, suffix, monkeypatch):
    monkeypatch.setattr(numbering, "CHUNK", 20)
    monkeypatch.setattr(blockwise, "MOST_VOXELS", 2**14)
    monkeypatch.setattr(blockwise, "SMALLEST_SIDE", 20)
    stack, out = tc.read_volume(bar / "bar.tif"), bar / "out"
    asked = ["--objects", "--object-diameter", "golgi=8,nuclei=8", "--tile", "12,24,40", "--format", suffix]
    assert main(["predict", str(bar / "run"), "--images", str(bar / "bar.tif"), "-o", str(out), *asked]) == 0
    objects = tc.read_volume(out / f"bar_objects.{suffix}").array
    probabilities, centres = load_model(bar / "run").predict_with_centres(stack)
    for k in range(2):
        expected = tc.label_objects(probabilities.array[..., k], diameter=8, centres=centres.array[..., k])
        np.testing.assert_array_equal(objects[..., k], expected)
    assert objects.max(axis=(0, 1, 2)).tolist() == [2, 3]
    written = {path.name for path in out.iterdir()}
    assert written == {"bar_mask.png", f"bar_mask.{suffix}", f"bar_objects.{suffix}"}


def test_objects_of_an_exported_model_are_told_apart_by_the_distance(bar):
    model, out = export_model(bar / "run", bar / "model", "keras"), bar / "out"
    asked = ["--objects", "--object-diameter", "golgi=8,nuclei=8"]
    assert main(["predict", str(model), "--images", str(bar / "bar.tif"), "-o", str(out), *asked]) == 0
    mask, objects = (tc.read_volume(out / f"bar_{kind}.tif").array for kind in ("mask", "objects"))
    for k in range(2):
        np.testing.assert_array_equal(objects[..., k], tc.label_objects(mask[..., k], diameter=8))
    assert objects.max(axis=(0, 1, 2)).tolist() == [1, 1]


@pytest.mark.parametrize("normalization", ["none", "instance"])
def test_the_first_outputs_of_a_network_stay_what_they_were(normalization):
    network = resnet_generator(2, 4, filters=4, blocks=1, end_kernel=3, output_normalization=normalization)
    batch = np.random.default_rng(1).uniform(-1, 1, (1, 8, 8, 8, 2)).astype(np.float32)
    first = with_first_outputs(network, 2)
    np.testing.assert_allclose(first(batch), tf.convert_to_tensor(network(batch))[..., :2], atol=1e-6)


def test_other_methods_learn_no_centres():
    with pytest.raises(errors.ConfigError, match=r"synthesis\.centres"):
        SETTINGS.replace({"method": "unet"})
