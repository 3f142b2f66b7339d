"""What is watched in a training: probes, monitors on networks built to fail, consequences, the choice of an epoch."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import dataclasses
import json

import numpy as np
import pytest
from scipy import ndimage

from tests.tiny import TINY
from tfcyclegan3d import errors, presets
from tfcyclegan3d.config import from_dict
from tfcyclegan3d.config_monitors import MonitorConfig, MonitorsConfig
from tfcyclegan3d.training import monitors
from tfcyclegan3d.training.monitors import MONITORS
from tfcyclegan3d.training.probes import Probes, observe, spread_probes
from tfcyclegan3d.training.selection import Selection, agreement
from tfcyclegan3d.training.watch import GO_BACK, GO_ON, STOP, Reading, Watch, read_monitors

CLASSES = ("golgi", "nuclei")
SETTINGS = MonitorsConfig()
SHAPE = (8, 16, 16)


def blobs(seed, n=4, share=(0.05, 0.15)):
    """Masks (NZYXC in {-1, 1}) with a rounded set of objects a class, the rarer class first."""
    rng = np.random.default_rng(seed)
    fields = ndimage.gaussian_filter(rng.normal(size=(n, *SHAPE, 2)), (0, 1.5, 1.5, 1.5, 0))
    limits = [np.quantile(fields[..., k], 1 - share[k]) for k in range(2)]
    return np.where(fields > limits, 1.0, -1.0).astype(np.float32)


@pytest.fixture(scope="module")
def probes():
    """Images that show one set of objects, bright in the dark with noise, and masks of others."""
    rng = np.random.default_rng(9)
    images = np.clip(0.8 * blobs(1) + 0.1 * rng.normal(size=(4, *SHAPE, 2)), -1, 1).astype(np.float32)
    return Probes(images, blobs(2))


def sharp(batch):
    """A good network, either way: each channel above 0 is an object."""
    return np.where(batch > 0, 0.9, -0.9).astype(np.float32)


def undecided(batch):
    """A critic that cannot tell."""
    return np.full((len(batch), 1, 1, 1, 1), 0.5, np.float32)


def seen_of(probes, to_mask=sharp, to_image=sharp, mask_critic=undecided, image_critic=undecided):
    return observe(probes, to_mask, to_image, mask_critic, image_critic)


def failing(seen, settings=SETTINGS):
    return {one.monitor for one in read_monitors(settings, seen, CLASSES) if one.fails}


# ---- networks built to fail


def test_good_networks_fail_nothing(probes):
    assert failing(seen_of(probes)) == set()


def test_the_same_output_for_every_input_is_a_collapse_whichever_generator_gives_it(probes):
    fixed = blobs(3, n=1)
    assert "collapse" in failing(seen_of(probes, to_mask=lambda batch: fixed))
    assert "collapse" in failing(seen_of(probes, to_image=lambda batch: fixed))
    nearly = seen_of(probes, to_mask=lambda batch: np.clip(fixed + 0.02 * batch, -1, 1))
    assert "collapse" in failing(nearly)
    half = seen_of(probes, to_mask=lambda batch: np.clip(fixed + sharp(batch), -1, 1))
    assert "collapse" not in failing(half)


def test_variety_is_the_share_of_variance_between_inputs_relative_to_that_of_the_inputs():
    rng = np.random.default_rng(0)
    own, common = rng.normal(size=(4, 6, 6, 6, 1)), rng.normal(size=(1, 6, 6, 6, 1))
    images = masks = own.astype(np.float32)
    output = (own + 2 * common).astype(np.float32)
    seen = dataclasses.replace(seen_of(Probes(images, masks)), predicted=output, translated=output)
    between = lambda batch: batch.var(axis=0).mean() / batch.var()  # noqa: E731
    assert monitors.variety(seen) == pytest.approx(between(output) / between(images), rel=1e-4)
    same = Probes(np.repeat(images[:1], 4, 0), np.repeat(masks[:1], 4, 0))
    assert np.isnan(monitors.variety(seen_of(same)))


@pytest.mark.parametrize(("value", "name"), [(-0.9, "empty"), (0.9, "full")])
def test_masks_of_nothing_and_of_everything_are_called_empty_and_full(probes, value, name):
    def network(batch):
        mask = sharp(batch)
        mask[..., 0] = value
        return mask

    readings = {one.monitor: one for one in read_monitors(SETTINGS, seen_of(probes, to_mask=network), CLASSES)}
    assert readings[name].fails
    assert readings[name].class_name == "golgi"
    assert "golgi" in readings[name].text
    other = "full" if name == "empty" else "empty"
    assert not readings[other].fails


def test_masks_of_the_dark_are_an_inversion(probes):
    seen = seen_of(probes, to_mask=lambda batch: -sharp(batch))
    assert "inversion" in failing(seen)
    assert monitors.brightness_agreement(seen) == pytest.approx([-1, -1], abs=0.1)


def test_masks_in_each_others_places_are_a_class_swap(probes):
    swapped = seen_of(probes, to_mask=lambda batch: sharp(batch)[..., ::-1])
    assert "class_swap" in failing(swapped)
    right = monitors.swap_advantage(seen_of(probes))
    assert float(monitors.swap_advantage(swapped)) == pytest.approx(-float(right), abs=1e-6)


def test_one_class_alone_cannot_be_swapped(probes):
    one = Probes(probes.images[..., :1], probes.masks[..., :1])
    readings = {reading.monitor: reading for reading in read_monitors(SETTINGS, seen_of(one), ("nuclei",))}
    assert np.isnan(readings["class_swap"].value)
    assert not readings["class_swap"].fails
    assert readings["inversion"].class_name == "nuclei"


def test_an_image_hidden_in_small_values_of_the_mask_is_found(probes):
    """The mask says where objects are; a thousandth of its value carries the image."""

    def hide(batch):
        return (np.where(batch > 0, 0.9, -0.9) + 1e-3 * batch).astype(np.float32)

    def unhide(mask):
        return np.clip((mask - np.where(mask > 0, 0.9, -0.9)) * 1e3, -1, 1).astype(np.float32)

    assert "hidden_information" in failing(seen_of(probes, to_mask=hide, to_image=unhide))


def test_specks_and_a_mask_far_fuller_than_those_drawn_are_inventions(probes):
    rng = np.random.default_rng(5)
    specks = np.where(rng.random(probes.images.shape) < 0.1, 0.9, -0.9).astype(np.float32)
    state = iter(range(100))
    settings = dataclasses.replace(SETTINGS, invention=MonitorConfig(2.0))
    assert "invention" in failing(seen_of(probes, to_mask=lambda batch: specks[[next(state) % 4]]), settings)
    fuller = seen_of(probes, to_mask=lambda batch: np.where(batch > -0.9, 0.9, -0.9).astype(np.float32))
    assert "invention" in failing(fuller)


def test_surfaces_are_counted_in_faces_for_each_voxel():
    cube = np.full((1, 8, 8, 8, 1), False)
    cube[0, 2:5, 2:5, 2:5] = True
    assert monitors.surface(cube) == pytest.approx([6 * 9 / 27])


def test_a_critic_that_knows_everything_is_saturated_and_one_that_cannot_tell_is_not(probes):
    real = {probe.tobytes() for probe in probes.masks}

    def omniscient(batch):
        return np.full((1, 2, 2, 2, 1), 1.0 if batch[0].tobytes() in real else 0.0, np.float32)

    assert "critic_saturation" in failing(seen_of(probes, mask_critic=omniscient))
    assert float(monitors.critic_loss(seen_of(probes))) == pytest.approx(0.25)


def test_every_monitor_has_its_settings_and_every_setting_its_monitor():
    named = {one.name for one in dataclasses.fields(MonitorsConfig) if one.type == "MonitorConfig"}
    assert named == set(MONITORS)


# ---- consequences


def readings_of(*bad):
    return [Reading(name, 0.0, "", name in bad) for name in MONITORS]


def test_a_failure_acts_once_it_lasts_and_the_training_goes_back_to_the_last_good_epoch():
    watch = Watch(SETTINGS)
    assert watch.judge(1, readings_of(), 0.3).action == GO_ON
    assert watch.judge(2, readings_of("collapse"), 0.4).action == GO_ON
    assert watch.judge(3, readings_of(), 0.5).action == GO_ON
    assert watch.judge(4, readings_of("collapse"), 0.6).action == GO_ON
    decision = watch.judge(5, readings_of("collapse"), 0.7)
    assert decision.action == GO_BACK
    assert "mode collapse" in decision.reasons[0]
    assert watch.good_epoch == 3


def test_warnings_never_act():
    watch = Watch(SETTINGS)
    for epoch in range(1, 10):
        bad = ("invention", "hidden_information", "critic_saturation")
        assert watch.judge(epoch, readings_of(*bad), 0.9).action == GO_ON
        assert watch.good_epoch == epoch


def test_stopping_is_a_consequence_of_its_own():
    watch = Watch(dataclasses.replace(SETTINGS, collapse=MonitorConfig(0.1, "stop", patience=1)))
    assert watch.judge(1, readings_of("collapse"), 0.5).action == STOP


def test_nothing_follows_early_on_nor_before_anything_was_good():
    watch = Watch(SETTINGS)
    for epoch in range(1, 5):
        assert watch.judge(epoch, readings_of("empty"), 0.05 * epoch).action == GO_ON
    for epoch in range(5, 9):
        assert watch.judge(epoch, readings_of("empty"), 0.5).action == GO_ON
    assert watch.good_epoch == 0


def test_nothing_follows_in_the_start():
    watch = Watch(SETTINGS, start_fraction=0.8)
    watch.judge(1, readings_of(), 0.1)
    for epoch in range(2, 9):
        assert watch.judge(epoch, readings_of("collapse"), 0.09 * epoch).action == GO_ON
    assert watch.judge(9, readings_of("collapse"), 0.81).action == GO_BACK


def test_after_some_returns_the_training_stops_and_each_halves_the_rates():
    watch = Watch(dataclasses.replace(SETTINGS, max_rollbacks=2, rollback_rate=0.5))
    watch.judge(1, readings_of(), 0.3)
    for rate in (0.5, 0.25):
        watch.judge(2, readings_of("full"), 0.4)
        decision = watch.judge(3, readings_of("full"), 0.5)
        assert decision.action == GO_BACK
        watch.gone_back(3, decision.reasons[0])
        assert watch.rate == rate
    watch.judge(2, readings_of("full"), 0.4)
    assert watch.judge(3, readings_of("full"), 0.5).action == STOP
    assert [(one.from_epoch, one.to_epoch) for one in watch.returns] == [(3, 1), (3, 1)]


def test_divergence_goes_back_even_to_the_very_beginning_unless_told_to_stop():
    assert Watch(SETTINGS).judge_divergence(7).action == GO_BACK
    stopping = Watch(dataclasses.replace(SETTINGS, divergence="stop")).judge_divergence(7)
    assert stopping.action == STOP
    assert "step 7" in stopping.reasons[0]


def test_only_a_saved_epoch_is_one_to_go_back_to():
    watch = Watch(SETTINGS)
    watch.judge(1, readings_of(), 0.3, is_saved=True)
    watch.judge(2, readings_of(), 0.3, is_saved=False)
    assert watch.good_epoch == 1


def test_what_was_counted_survives_as_json():
    watch = Watch(SETTINGS)
    watch.judge(1, readings_of(), 0.3)
    watch.judge(2, readings_of("collapse"), 0.4)
    watch.gone_back(2, "why")
    watch.judge(2, readings_of("collapse"), 0.4)
    again = Watch(SETTINGS)
    again.restore(json.loads(json.dumps(watch.record())))
    assert again.rate == watch.rate == 0.5
    assert again.judge(3, readings_of("collapse"), 0.5).action == GO_BACK
    assert again.good_epoch == 1


# ---- settings


def test_thresholds_and_consequences_are_reached_by_dotted_names():
    config = presets.fast().replace({"monitors.collapse.threshold": 0.2, "monitors.empty.consequence": "stop"})
    assert (config.monitors.collapse.threshold, config.monitors.empty.consequence) == (0.2, "stop")
    assert from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("monitors.collapse.consequence", "explode"),
        ("monitors.collapse.patience", 0),
        ("monitors.collapse.threshold", float("nan")),
        ("monitors.n_probes", 1),
        ("monitors.rollback_rate", 0),
        ("monitors.grace", 2),
        ("monitors.max_rollbacks", -1),
        ("monitors.unheard_of.threshold", 1),
    ],
)
def test_impossible_settings_are_refused_by_name(key, value):
    with pytest.raises(errors.UserError, match=r"monitors|unknown"):
        TINY.replace({key: value})


# ---- probes


def test_probes_are_spread_from_the_brightest_places_to_the_dimmest():
    volume = np.full((8, 64, 64, 1), -1, np.float32)
    volume[:, :16, :16] = 1
    found = spread_probes([volume], (8, 8, 8), 4, (1, 2))
    means = found.mean(axis=(1, 2, 3, 4))
    assert found.shape == (4, 8, 8, 8, 1)
    assert list(means) == sorted(means, reverse=True)
    assert means[0] > means[-1] == -1
    np.testing.assert_array_equal(found, spread_probes([volume], (8, 8, 8), 4, (1, 2)))


def test_a_stack_no_larger_than_a_probe_gives_probes_that_differ():
    volume = np.random.default_rng(0).uniform(-1, 1, (6, 8, 8, 2)).astype(np.float32)
    found = spread_probes([volume], (8, 8, 8), 4, (0,))
    assert len({probe.tobytes() for probe in found}) == 4


# ---- the choice of an epoch


def test_agreement_is_dice_for_masks_and_one_for_two_empty_ones():
    rng = np.random.default_rng(2)
    one, other = rng.random((4, 5, 6, 2)) < 0.3, rng.random((4, 5, 6, 2)) < 0.4
    dice = [2 * (one & other)[..., k].sum() / (one[..., k].sum() + other[..., k].sum()) for k in range(2)]
    assert agreement(one, other) == pytest.approx(np.mean(dice), rel=1e-6)
    assert agreement(np.zeros((3, 3, 1)), np.zeros((3, 3, 1))) == 1
    assert agreement(np.ones((3, 3, 1)), np.zeros((3, 3, 1))) == 0


def wrong_by(truth, share, seed):
    """The truth with a share of its voxels turned over."""
    flips = np.random.default_rng(seed).random(truth.shape) < share
    return np.where(flips, -truth, truth)


def test_the_epoch_with_the_fewest_errors_is_chosen_without_the_truth():
    truth = blobs(4)
    selection = Selection(truth.shape, keep=3)
    shares = {1: 0.3, 2: 0.15, 3: 0.05, 4: 0.02, 5: 0.1, 6: 0.2}
    for epoch, share in shares.items():
        scores = selection.consider(epoch, {"raw": wrong_by(truth, share, epoch)}, sound=True)
        assert set(scores) == {"raw"}
    assert (selection.best.epoch, selection.best.which) == (4, "raw")
    assert 4 in selection.epochs
    assert len(selection.choices) == 3


def test_an_unsound_epoch_is_chosen_only_where_there_is_no_sound_one():
    truth = blobs(4)
    selection = Selection(truth.shape, keep=2)
    selection.consider(1, {"raw": wrong_by(truth, 0.01, 1)}, sound=False)
    assert selection.best.epoch == 1
    selection.consider(2, {"raw": wrong_by(truth, 0.2, 2)}, sound=True)
    selection.consider(3, {"raw": wrong_by(truth, 0.01, 3)}, sound=False)
    assert selection.best.epoch == 2


def test_an_unsound_epoch_has_no_say_in_which_sound_one_is_chosen():
    truth = blobs(4)
    selection = Selection(truth.shape, keep=4)
    selection.consider(1, {"raw": wrong_by(truth, 0.01, 1)}, sound=True)
    before = [variable.numpy() for variable in selection.variables[:2]]
    selection.consider(2, {"raw": -truth}, sound=False, adversarial=True)
    for variable, value in zip(selection.variables[:2], before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert selection.best.epoch == 1


def test_epochs_that_draw_too_large_by_intention_are_forgotten_once_a_sound_one_does_not():
    truth = blobs(4)
    large = np.where(ndimage.binary_dilation(truth > 0, iterations=2), 1.0, -1.0)
    selection = Selection(truth.shape, keep=3)
    for epoch in (1, 2, 3):
        selection.consider(epoch, {"raw": large}, sound=True, settled=False)
    selection.consider(4, {"raw": -truth}, sound=False, settled=True)
    assert selection.best.epoch in (1, 2, 3)
    for epoch in (5, 6):
        restored = Selection(truth.shape, keep=3)
        for variable, stored in zip(restored.variables, selection.variables, strict=True):
            variable.assign(stored.numpy())
        restored.restore(json.loads(json.dumps(selection.record())))
        selection = restored
        scores = selection.consider(epoch, {"raw": wrong_by(truth, 0.01, epoch)}, sound=True, settled=True)
        assert scores["raw"] > 0.97
        assert selection.epochs == set(range(5, epoch + 1))


def test_a_score_is_the_agreement_with_the_weighted_mean_of_all_candidates():
    masks = {epoch: wrong_by(blobs(4), 0.1, epoch) for epoch in (1, 2, 3)}
    selection = Selection(masks[1].shape, keep=2)
    for epoch, mask in masks.items():
        scores = selection.consider(epoch, {"averaged": mask, "raw": -mask}, sound=True)
    total = sum(epoch * ((mask > 0).astype(float) + (mask < 0)) for epoch, mask in masks.items())
    mean = total / 12
    assert scores["averaged"] == pytest.approx(agreement(masks[3] > 0, mean), rel=1e-5)


def test_many_epochs_of_the_start_do_not_outvote_few_adversarial_ones():
    truth = blobs(4)
    of_start, of_adversarial = (wrong_by(truth, 0.01, seed) for seed in (100, 200))
    masks = {epoch: of_start if epoch > 3 else wrong_by(truth, 0.01, epoch) for epoch in range(1, 11)}
    masks |= {11: truth, 12: of_adversarial}
    alike, outvoted = (Selection(truth.shape, keep=4) for _ in range(2))
    for epoch, mask in masks.items():
        scores = alike.consider(epoch, {"raw": mask}, sound=True, adversarial=epoch > 10)
        outvoted.consider(epoch, {"raw": mask}, sound=True)
    assert alike.best.epoch == 11
    assert outvoted.best.epoch <= 10
    found = {epoch: (mask > 0).astype(float) for epoch, mask in masks.items()}
    means = [
        sum(epoch * found[epoch] for epoch in part) / sum(part)  # Later epochs weigh more.
        for part in (range(1, 11), (11, 12))
    ]
    assert scores["raw"] == pytest.approx(agreement(found[12], np.mean(means, axis=0)), rel=1e-5)


def test_a_selection_goes_on_from_its_record_and_variables_as_if_it_had_never_stopped():
    truth = blobs(4)
    whole, first, second = (Selection(truth.shape, keep=3) for _ in range(3))
    for epoch in range(1, 7):
        predicted = {"averaged": wrong_by(truth, 0.02 * epoch, epoch), "raw": wrong_by(truth, 0.2 / epoch, 50 + epoch)}
        how = {"sound": epoch != 2, "adversarial": epoch > 2}
        whole.consider(epoch, predicted, **how)
        if epoch == 4:
            for variable, stored in zip(second.variables, first.variables, strict=True):
                variable.assign(stored.numpy())
            second.restore(json.loads(json.dumps(first.record())))
        (first if epoch < 4 else second).consider(epoch, predicted, **how)
    assert second.choices == whole.choices
