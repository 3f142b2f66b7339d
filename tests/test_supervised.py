"""Methods that learn from pairs: what they are given, what they minimise, how they choose an epoch and go on."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

import tfcyclegan3d as tc
from tests.tiny import TINY
from tfcyclegan3d import errors, losses, patches, presets
from tfcyclegan3d.synthesis.simulation import simulate_stack
from tfcyclegan3d.training.pairs import Pairs, divided, prepare_pairs
from tfcyclegan3d.training.run_folder import RunFolder
from tfcyclegan3d.training.supervised_trainer import SupervisedTrainer
from tfcyclegan3d.training.validation import BestEpoch, Validation

SMALL = {"model.filters": 4, "supervised.levels": 2, "training.epochs": 3, "training.steps_per_epoch": 2}
SETTINGS = {
    "unet": presets.with_method(TINY, "unet").replace(SMALL),
    "vox2vox": presets.with_method(TINY, "vox2vox").replace(SMALL),
}
every_method = pytest.mark.parametrize("method", SETTINGS)


@pytest.fixture(scope="module")
def stacks():
    return [simulate_stack((16, 40, 40), seed=(9, i)) for i in range(2)]


def images_and_truths(stacks):
    return [one.image for one in stacks], [one.truth for one in stacks]


def coarse(n=1, shape=(8, 12, 20), seed=0):
    rng = np.random.default_rng(seed)
    images = [rng.uniform(-1, 1, (*shape, 2)).astype(np.float32) for _ in range(n)]
    return Pairs(images, [(image > 0).astype(np.float32) for image in images])


def settled(**changes):
    config = SETTINGS["unet"].replace({"preprocessing.downsampling": [1, 1, 1], "classes": ["golgi", "nuclei"]})
    return config.replace({"losses.class_weights": [1, 1], **changes})


# ---- patches


def test_image_and_mask_are_cut_turned_and_flipped_alike():
    pairs = coarse(3)
    source = patches.PairedPatches(pairs.images, pairs.masks, (8, 8, 8), (0,))
    for index in range(20):
        image, mask = source.draw(index)
        np.testing.assert_array_equal(mask > 0, image > 0)


def test_a_turned_patch_keeps_its_pairing_and_its_range():
    grid = np.linspace(-1, 1, 24, dtype=np.float32)
    image = np.broadcast_to(grid[:, np.newaxis, np.newaxis] + grid[:, np.newaxis], (24, 24, 24))[..., np.newaxis] / 2
    source = patches.PairedPatches([image], [(image + 1) / 2], (24, 24, 24), (0,), rotation=30, rotation_share=1.0)
    plain = patches.PairedPatches([image], [(image + 1) / 2], (24, 24, 24), (0,))
    for index in range(5):
        drawn, mask = source.draw(index)
        np.testing.assert_allclose(drawn, mask, atol=1e-5)
        assert np.abs(drawn).max() <= 1 + 1e-5
        assert not np.allclose(drawn, plain.draw(index)[0])


def test_a_share_of_the_patches_is_turned():
    pairs = coarse(1, (8, 8, 8))
    whole = patches.PairedPatches(pairs.images, pairs.masks, (8, 8, 8), (0,))
    some = patches.PairedPatches(pairs.images, pairs.masks, (8, 8, 8), (0,), rotation=30, rotation_share=0.4)
    turned = [not np.array_equal(whole.draw(i)[0], some.draw(i)[0]) for i in range(300)]
    assert 0.3 < np.mean(turned) < 0.5


# ---- who trains and who validates


def test_the_last_stacks_validate():
    pairs = coarse(4)
    found = divided(pairs, settled(**{"supervised.n_validation": 2}), [])
    assert [one is other for one, other in zip(found.training.images, pairs.images, strict=False)] == [True, True]
    assert found.validation.images == pairs.images[2:]
    assert found.validation.masks == pairs.masks[2:]


def test_a_quarter_validates_where_nobody_says_how_many():
    assert [len(divided(coarse(n), settled(), []).validation.images) for n in (2, 4, 8)] == [1, 1, 2]


def test_of_one_stack_the_end_with_nearest_a_quarter_of_the_objects_validates():
    image = np.random.default_rng(0).uniform(-1, 1, (8, 16, 20, 2)).astype(np.float32)
    mask = np.zeros_like(image)
    mask[2, :12, 0] = 1  # A third of it lies in the first quarter of Y, all of it at the beginning of X.
    found = divided(Pairs([image], [mask]), settled(), [])
    np.testing.assert_array_equal(found.training.images[0], image[:, 4:])
    np.testing.assert_array_equal(found.validation.images[0], image[:, :4])
    np.testing.assert_array_equal(found.validation.masks[0], mask[:, :4])


def test_of_one_thin_stack_no_planes_are_held_back():
    pairs = coarse(1, (4, 12, 20))
    found = divided(pairs, settled(), [])
    shapes = {part.images[0].shape[:3] for part in (found.training, found.validation)}
    assert shapes in ({(4, 9, 20), (4, 3, 20)}, {(4, 12, 15), (4, 12, 5)})


@pytest.mark.parametrize(
    ("n_stacks", "changes", "says"),
    [
        (2, {"supervised.n_validation": 2}, "supervised.n_validation"),
        (1, {"supervised.n_validation": 1}, "supervised.n_validation"),
        (2, {"training.patch_shape": [12, 12, 12], "supervised.levels": 4}, "multiples of 8"),
        (2, {"method": "vox2vox", "training.patch_shape": [24, 24, 24]}, "multiples of 16"),
    ],
)
def test_settings_that_cannot_train_are_named(n_stacks, changes, says):
    with pytest.raises(errors.ConfigError, match=says):
        divided(coarse(n_stacks), settled(**changes), [])


def test_an_empty_truth_is_refused():
    pairs = coarse(2)
    with pytest.raises(errors.VolumeContentError, match="no object"):
        divided(Pairs(pairs.images, [np.zeros_like(mask) for mask in pairs.masks]), settled(), [])


@pytest.mark.parametrize("classes", [None, ("golgi", "nuclei")])
def test_classes_that_nobody_named_are_noted(stacks, classes):
    config = SETTINGS["unet"].replace({"classes": classes, "losses.class_weights": None})
    notes = prepare_pairs(*images_and_truths(stacks), config).notes
    said = "channel 0 is taken for golgi, channel 1 for nuclei; --classes changes it"
    assert notes.count(said) == (classes is None)


def test_images_and_truths_must_belong_together(stacks):
    images, truths = images_and_truths(stacks)
    with pytest.raises(errors.OptionError, match="truth of each stack"):
        prepare_pairs(images, truths[:1], SETTINGS["unet"])
    with pytest.raises(errors.ShapeMismatchError):
        prepare_pairs(images, [truths[0], tc.Volume(truths[1].array[:8])], SETTINGS["unet"])


# ---- validation


def test_validation_scores_by_dice_over_all_tiles():
    pairs = coarse(2, (16, 16, 32))
    validation = Validation(pairs, (16, 16, 16))
    assert validation.dice(lambda batch: batch) == [1.0, 1.0]
    # Everything is object: precision is the share of object voxels f, recall 1, Dice 2 f / (1 + f).
    share = np.mean([mask.mean(axis=(0, 1, 2)) for mask in pairs.masks], axis=0)
    np.testing.assert_allclose(validation.dice(np.ones_like), 2 * share / (1 + share), rtol=1e-6)
    assert validation.dice(lambda batch: -np.ones_like(batch)) == [0.0, 0.0]


def test_the_best_epoch_is_kept_and_waiting_ends_after_its_patience():
    best = BestEpoch(patience=2)
    seen = []
    for epoch, score in enumerate((0.5, 0.7, 0.7, 0.6), start=1):
        best.consider(epoch, score)
        seen.append((best.best.epoch, best.is_final))
    assert seen == [(1, False), (2, False), (2, False), (2, True)]
    again = BestEpoch(patience=2)
    again.restore(json.loads(json.dumps(best.record())))
    assert again.best == best.best
    assert again.is_final


# ---- steps


def test_dice_classes_weigh_as_told():
    rng = np.random.default_rng(0)
    target, output = rng.choice([-1.0, 1.0], (1, 4, 4, 4, 2)), rng.uniform(-1, 1, (1, 4, 4, 4, 2))
    alone = [float(losses.soft_dice_loss(target[..., k : k + 1], output[..., k : k + 1])) for k in (0, 1)]
    assert float(losses.soft_dice_loss(target, output)) == pytest.approx(np.mean(alone), rel=1e-5)
    weighted = float(losses.soft_dice_loss(target, output, (3.0, 1.0)))
    assert weighted == pytest.approx((3 * alone[0] + alone[1]) / 4, rel=1e-5)


@every_method
def test_a_network_learns_a_pair_by_heart(method, stacks):
    config = SETTINGS[method].replace({"training.generator_learning_rate": 3e-3, "supervised.dropout": 0.0})
    trainer = SupervisedTrainer(prepare_pairs(*images_and_truths(stacks), config))
    pair = tuple(tf.constant(one[np.newaxis]) for one in trainer._pairs.draw(3))
    first = float(trainer._step(*pair)["dice"])
    for _ in range(40):
        last = float(trainer._step(*pair)["dice"])
    assert last < 0.7 * first


# ---- runs


@pytest.fixture(scope="module")
def runs(stacks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    images, truths = images_and_truths(stacks)
    for method, config in SETTINGS.items():
        tc.train(images, None, config, folder / method, truth=truths, progress=False)
    return folder


@every_method
def test_a_run_keeps_the_epoch_that_validates_best(runs, method):
    manifest = json.loads((runs / method / "manifest.json").read_text())
    assert manifest["method"] == method
    scores = [float(row["validation/mean"]) for row in _rows(runs / method)]
    assert manifest["selected"]["epoch"] == int(np.argmax(scores)) + 1
    assert manifest["selected"]["score"] == pytest.approx(max(scores), rel=1e-5)
    assert not (runs / method / "mask_to_image.keras").exists()


@every_method
def test_a_run_predicts_and_reports(runs, method, stacks):
    prediction = tc.load_model(runs / method).predict(stacks[0].image)
    assert prediction.array.shape == stacks[0].truth.array.shape
    report = (runs / method / "report.html").read_text()
    assert "validation" in report
    assert "the image made of it" not in report


@every_method
def test_a_resumed_run_ends_as_if_it_had_never_stopped(runs, method, stacks, tmp_path, monkeypatch):
    images, truths = images_and_truths(stacks)
    real = SupervisedTrainer.step

    def interrupting(self, index, *rest):
        if index == 3:
            raise KeyboardInterrupt
        return real(self, index, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(SupervisedTrainer, "step", interrupting)
        with pytest.raises(KeyboardInterrupt):
            tc.train(images, None, SETTINGS[method], tmp_path / "run", truth=truths, progress=False)
    tc.train(images, None, None, tmp_path / "run", truth=truths, resume=True, progress=False)
    one, other = (_rows(place) for place in (runs / method, tmp_path / "run"))
    for row, again in zip(one, other, strict=True):
        for name in row:
            if "minutes" not in name and "seconds" not in name:
                assert row[name] == again[name], name


def test_a_training_that_no_longer_improves_ends_early(stacks, tmp_path, monkeypatch):
    monkeypatch.setattr(Validation, "dice", lambda *_: [0.5, 0.5])
    config = SETTINGS["unet"].replace({"training.epochs": 9, "supervised.patience": 2})
    images, truths = images_and_truths(stacks)
    run = tc.train(images, None, config, tmp_path / "run", truth=truths, progress=False)
    assert run.verdict == "finished"
    assert len(_rows(tmp_path / "run")) == 3
    again = tc.train(images, None, None, tmp_path / "run", truth=truths, progress=False, resume=True)
    assert again.verdict == "finished"
    assert len(_rows(tmp_path / "run")) == 3


@pytest.mark.parametrize(
    ("config", "given", "says"),
    [
        (SETTINGS["unet"], {}, "--truth"),
        (TINY, {"truth": []}, "--truth"),
        (SETTINGS["unet"], {"truth": [], "masks": []}, "--masks"),
        (presets.with_method(TINY, "two-stage"), {}, "train_two_stage"),
    ],
)
def test_methods_refuse_what_they_do_not_learn_from(config, given, says, stacks, tmp_path):
    given = {"masks": None} | given
    with pytest.raises(errors.OptionError, match=says):
        tc.train([stacks[0].image], given.pop("masks"), config, tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


def _rows(run):
    return RunFolder(run).read_metrics()
