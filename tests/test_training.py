"""The parts of a training: schedules, averages, pools, the step, checkpoints, and the preparation of stacks."""

import dataclasses
import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tests.tiny import TINY
from tfcyclegan3d import errors, losses, presets
from tfcyclegan3d.config import from_dict
from tfcyclegan3d.models.layers import InstanceNormalization
from tfcyclegan3d.synthesis.diameters import diameter_in_voxels, diameters_in_voxels, prior_for
from tfcyclegan3d.synthesis.prior import NUCLEI_AND_GOLGI, Prior
from tfcyclegan3d.synthesis.simulation import simulate_stack
from tfcyclegan3d.training import previews
from tfcyclegan3d.training.averaging import WeightAverage
from tfcyclegan3d.training.checkpoints import checkpoint_of, latest_checkpoint, load_checkpoint, save_checkpoint
from tfcyclegan3d.training.course import Clock
from tfcyclegan3d.training.cyclegan import CycleGANStep
from tfcyclegan3d.training.cyclegan_trainer import CycleGANTrainer
from tfcyclegan3d.training.image_pool import ImagePool
from tfcyclegan3d.training.networks import build_networks
from tfcyclegan3d.training.preparation import prepare
from tfcyclegan3d.training.schedules import constant_then_linear, linear
from tfcyclegan3d.training.settling import voxel_aspect
from tfcyclegan3d.training.start import StartStep
from tfcyclegan3d.volumes import Grid, Volume

ONE_CLASS = TINY.replace({"losses.class_weights": [2.0], "losses.foreground_weights": [1.0]})
few = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


# ---- schedules


@pytest.mark.parametrize(
    ("progress", "decay_from", "final", "factor"),
    [
        (0.0, 0.5, 0.0, 1.0),
        (0.5, 0.5, 0.0, 1.0),
        (0.6, 0.5, 0.0, 0.8),
        (0.75, 0.5, 0.0, 0.5),
        (0.75, 0.5, 0.2, 0.6),
        (1.0, 0.5, 0.2, 0.2),
        (1.3, 0.5, 0.2, 0.2),
        (0.25, 0.0, 0.0, 0.75),
        (1.0, 1.0, 0.3, 1.0),
    ],
)
def test_a_rate_stays_and_then_falls_on_a_straight_line(progress, decay_from, final, factor):
    assert constant_then_linear(progress, decay_from=decay_from, final=final) == pytest.approx(factor)


@pytest.mark.parametrize(("progress", "value"), [(-1, 5), (0, 5), (0.25, 4), (1, 1), (2, 1)])
def test_a_weight_goes_from_its_start_to_its_end_and_no_further(progress, value):
    assert linear(progress, 5, 1) == pytest.approx(value)


# ---- average


def test_the_average_follows_the_recursion_with_a_smaller_momentum_at_first():
    rng = np.random.default_rng(0)
    variables = [keras.Variable(rng.random(shape).astype("float32")) for shape in ((3, 2), (4,))]
    average = WeightAverage(variables, momentum=0.6)
    oracle = [variable.numpy() for variable in variables]
    for n in range(12):
        m = min(0.6, (1 + n) / (10 + n))
        for k, variable in enumerate(variables):
            variable.assign(rng.random(variable.shape))
            oracle[k] = m * oracle[k] + (1 - m) * variable.numpy()
        average.update()
        for kept, wanted in zip(average.averages, oracle, strict=True):
            np.testing.assert_allclose(kept.numpy(), wanted, rtol=1e-5)
    assert average.n_updates.numpy() == 12


# ---- pool


def fake(value):
    return tf.fill((1, 2, 2, 2, 1), float(value))


def exchanged(pool, n_steps):
    """What the pool gives back for fakes 0, 1, 2, ... one after another."""
    return [int(pool.exchange(fake(step)).numpy().flat[0]) for step in range(n_steps)]


def test_a_pool_gives_fakes_back_until_it_is_full_and_then_older_ones_half_of_the_time():
    given_back = exchanged(ImagePool(8, (2, 2, 2, 1), seed=1), 400)
    assert given_back[:8] == list(range(8))
    older = [value < step for step, value in enumerate(given_back)]
    assert 150 < sum(older[8:]) < 240
    for step, value in enumerate(given_back):
        assert value <= step
    ages = [step - value for step, value in enumerate(given_back) if value < step]
    assert max(ages) > 16  # Some are kept for much longer than the pool is large.


def test_a_pool_loses_no_fake_and_gives_none_twice_once_it_is_full():
    pool = ImagePool(5, (2, 2, 2, 1), seed=2)
    given_back = exchanged(pool, 200)
    kept = [int(one.flat[0]) for one in pool.kept.numpy()]
    assert sorted(given_back[5:] + kept) == list(range(200))


def test_a_pool_is_deterministic_by_its_seed():
    one, again, other = (exchanged(ImagePool(4, (2, 2, 2, 1), seed), 60) for seed in (3, 3, 4))
    assert one == again != other


def test_a_pool_of_size_nought_gives_every_fake_straight_back():
    assert exchanged(ImagePool(0, (2, 2, 2, 1), seed=0), 10) == list(range(10))


def test_a_pool_takes_the_fakes_of_a_batch_one_by_one():
    single, batched = ImagePool(3, (2, 2, 2, 1), seed=5), ImagePool(3, (2, 2, 2, 1), seed=5)
    wanted = exchanged(single, 12)
    found = []
    for step in range(0, 12, 2):
        found += [int(one.flat[0]) for one in batched.exchange(tf.concat([fake(step), fake(step + 1)], 0)).numpy()]
    assert found == wanted
    np.testing.assert_array_equal(single.kept.numpy(), batched.kept.numpy())


# ---- networks


def test_the_four_networks_start_from_the_seed_each_with_weights_of_its_own():
    one, again, other = (build_networks(ONE_CLASS.model, 1, "float32", seed) for seed in (1, 1, 2))
    for name in ("image_to_mask", "mask_to_image", "mask_critic", "image_critic"):
        network = getattr(one, name)
        assert network.name == name
        for weight, same in zip(network.get_weights(), getattr(again, name).get_weights(), strict=True):
            np.testing.assert_array_equal(weight, same)
        assert (network.get_weights()[0] != getattr(other, name).get_weights()[0]).any()
    assert (one.image_to_mask.get_weights()[0] != one.mask_to_image.get_weights()[0]).any()
    assert (one.mask_critic.get_weights()[0] != one.image_critic.get_weights()[0]).any()
    n_generator = len(one.image_to_mask.trainable_variables) + len(one.mask_to_image.trainable_variables)
    n_critic = len(one.mask_critic.trainable_variables) + len(one.image_critic.trainable_variables)
    assert (len(one.generator_variables), len(one.critic_variables)) == (n_generator, n_critic)


def test_mask_to_image_may_be_normalised_in_another_way_than_image_to_mask():
    def normalised(changes):
        networks = build_networks(ONE_CLASS.replace(changes).model, 1, "float32", 0)
        both = (networks.image_to_mask, networks.mask_to_image)
        return [any(isinstance(layer, InstanceNormalization) for layer in network.layers) for network in both]

    assert normalised({"model.normalization": "none", "model.mask_to_image_normalization": "instance"}) == [False, True]
    assert normalised({"model.normalization": "instance", "model.mask_to_image_normalization": "none"}) == [True, False]
    assert normalised({"model.normalization": "none"}) == [False, False]


def test_the_papers_networks_have_its_sizes_and_map_a_patch_to_one_of_its_shape():
    model = presets.paper().model
    networks = build_networks(model, 2, "float32", 0)
    assert (model.filters, model.blocks, model.critic_filters) == (32, 9, 64)
    patch = keras.KerasTensor((1, 64, 64, 64, 2))
    assert networks.image_to_mask(patch).shape == (1, 64, 64, 64, 2)
    assert networks.mask_to_image(patch).shape == (1, 64, 64, 64, 2)
    critic_shape = networks.mask_critic(patch).shape
    assert (critic_shape[0], critic_shape[-1]) == (1, 1)
    kernels = [weight.shape for weight in networks.image_to_mask.trainable_variables if len(weight.shape) == 5]
    assert kernels[0] == (7, 7, 7, 2, 32)
    assert sum(kernel == (3, 3, 3, 128, 128) for kernel in kernels) == 18  # Two in each of nine blocks.


# ---- steps


@pytest.fixture
def eagerly():
    """Run steps without tracing them: seconds less for a test of one or two steps."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def batch(seed=0, n=1):
    """An image and a mask that show blobs, unpaired."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.standard_normal((2, n, 16, 16, 16)), (0, 0, 2, 2, 2))
    smooth /= np.abs(smooth).max(axis=(2, 3, 4), keepdims=True)
    image, mask = smooth[0], np.where(smooth[1] > 0.3, 1, -1)
    return [tf.constant(array[..., None], tf.float32) for array in (image, mask)]


ALONE = {f"losses.{name}": 0.0 for name in ("adversarial", "cycle", "identity", "supervised", "supervised_end")}
ALONE |= {"losses.adversarial_mask": None, "losses.cycle_mask": "l1"}


def step_of(changes, seed=0, average=False):
    """The networks, and a function that trains them by one step on fixed data and returns the losses."""
    config = ONE_CLASS.replace(changes)
    networks = build_networks(config.model, 1, "float32", seed)
    kept = WeightAverage(networks.generator_variables, 0.9) if average else None
    step = CycleGANStep(networks, config.losses, config.training, "float32", seed, kept)
    image, mask = batch()
    rendered, rendered_mask = batch(1)
    return networks, lambda: step(image, mask, rendered, rendered_mask, tf.constant(2.0), tf.constant([1.0])), step


def weights_of(networks):
    return {
        name: [weight.copy() for weight in getattr(networks, name).get_weights()]
        for name in ("image_to_mask", "mask_to_image", "mask_critic", "image_critic")
    }


def changed(before, networks):
    after = weights_of(networks)
    return {
        name
        for name, weights in before.items()
        if any((one != other).any() for one, other in zip(weights, after[name], strict=True))
    }


def test_a_step_changes_all_four_networks_and_follows_the_average(eagerly):
    networks, step, whole = step_of({"losses.identity": 5.0}, average=True)
    before = weights_of(networks)
    initial = [variable.numpy() for variable in networks.generator_variables]
    values = step()
    assert changed(before, networks) == {"image_to_mask", "mask_to_image", "mask_critic", "image_critic"}
    assert all(np.isfinite(value.numpy()) for value in values.values())
    average = [initial[k] * 0.1 + 0.9 * variable.numpy() for k, variable in enumerate(networks.generator_variables)]
    for kept, wanted in zip(whole._average.averages, average, strict=True):
        np.testing.assert_allclose(kept.numpy(), wanted, atol=1e-6)
    assert (whole.n_steps.numpy(), whole.mask_pool.n_seen.numpy(), whole.image_pool.n_seen.numpy()) == (1, 1, 1)


def silent(target, output, *_):
    """A loss without a gradient."""
    return tf.zeros(())


@pytest.mark.parametrize("cycle", ["cycle_image", "cycle_mask"])
def test_each_cycle_alone_sends_gradients_to_both_generators(eagerly, monkeypatch, cycle):
    monkeypatch.setattr(losses, "balanced_l1" if cycle == "cycle_image" else "weighted_l1", silent)
    networks, step, _ = step_of(ALONE | {"losses.cycle": 10.0})
    before = weights_of(networks)
    values = step()
    assert values[cycle] > 0
    assert {"image_to_mask", "mask_to_image"} <= changed(before, networks)


def test_without_any_weight_only_the_critics_learn(eagerly):
    networks, step, _ = step_of(ALONE)
    before = weights_of(networks)
    step()
    assert changed(before, networks) == {"mask_critic", "image_critic"}


@pytest.mark.parametrize(
    ("changes", "absent"),
    [
        ({"losses.identity": 0.0}, {"identity_mask", "identity_image"}),
        ({"losses.identity": 5.0, "losses.supervised": 0.0, "losses.supervised_end": 0.0}, {"supervised"}),
        ({"losses.identity": 5.0, "losses.supervised": 0.0, "losses.supervised_end": 1.0}, set()),
    ],
)
def test_a_term_of_weight_nought_is_absent(eagerly, changes, absent):
    names = {"adversarial_mask", "adversarial_image", "cycle_mask", "cycle_image", "critics"}
    names |= {"identity_mask", "identity_image", "supervised"}
    _, step, _ = step_of(changes)
    assert step().keys() == names - absent


def test_the_losses_of_a_step_are_those_of_its_networks_computed_by_hand(eagerly):
    plain = {"losses.cycle_noise": 0.0, "losses.critic_noise": 0.0, "losses.identity": 1.0, "losses.cycle_mask": "l1"}
    networks, step, _ = step_of(plain)
    image, mask = batch()
    fake_mask, fake_image = networks.image_to_mask(image), networks.mask_to_image(mask)
    mean = lambda tensor: float(np.mean(np.asarray(tensor, np.float64)))  # noqa: E731
    wanted = {
        "adversarial_mask": mean((networks.mask_critic(fake_mask) - 1) ** 2),
        "adversarial_image": mean((networks.image_critic(fake_image) - 1) ** 2),
        "cycle_image": 2.0 * mean(np.abs(image - networks.mask_to_image(fake_mask))),
        "cycle_mask": 2.0 * mean(np.abs(mask - networks.image_to_mask(fake_image))),
        "identity_mask": 2.0 * mean(np.abs(mask - networks.image_to_mask(mask))),
        "identity_image": 2.0 * mean(np.abs(image - networks.mask_to_image(image))),
        "critics": 0.5
        * sum(
            mean((critic(real) - 1) ** 2) + mean(critic(made) ** 2)
            for critic, real, made in (
                (networks.mask_critic, mask, fake_mask),
                (networks.image_critic, image, fake_image),
            )
        ),
    }
    found = {name: float(value) for name, value in step().items() if name in wanted}
    assert found == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("normalization", ["instance", "batch", "none"])
def test_a_critics_scores_of_real_patches_do_not_depend_on_the_fakes_beside_them(eagerly, normalization):
    networks, _, whole = step_of({"model.critic_normalization": normalization})
    real, fake = batch()
    found = whole._scores(networks.mask_critic, real, fake)
    for scores, patches in zip(found, (real, fake), strict=True):
        wanted = networks.mask_critic(patches, training=True).numpy()
        np.testing.assert_allclose(scores.numpy(), wanted, atol=1e-5)


def test_a_cycled_mask_may_be_judged_as_a_segmentation(eagerly):
    networks, step, _ = step_of({"losses.cycle_noise": 0.0, "losses.cycle_mask": "segmentation"})
    _, mask = batch()
    cycled = networks.image_to_mask(networks.mask_to_image(mask)).numpy().astype(np.float64)
    probability, target = (cycled + 1) / 2, (np.asarray(mask) + 1) / 2
    cross_entropy = -np.mean(target * np.log(probability) + (1 - target) * np.log(1 - probability))
    axes = (1, 2, 3)
    overlap = 2 * (probability * target).sum(axes) + 1
    dice = np.mean(overlap / (probability.sum(axes) + target.sum(axes) + 1))
    assert float(step()["cycle_mask"]) == pytest.approx(cross_entropy + 1 - dice, rel=1e-4)


def test_without_a_weight_of_its_own_the_mask_critic_has_that_of_the_image_critic(eagerly):
    def after(changes):
        networks, step, _ = step_of(ALONE | changes)
        before = weights_of(networks)
        step()
        return changed(before, networks), networks.image_to_mask.get_weights()

    both, weights = after({"losses.adversarial": 0.5})
    assert {"image_to_mask", "mask_to_image"} <= both
    _, same = after({"losses.adversarial": 0.5, "losses.adversarial_mask": 0.5})
    for one, other in zip(weights, same, strict=True):
        np.testing.assert_array_equal(one, other)
    images_alone, _ = after({"losses.adversarial": 0.5, "losses.adversarial_mask": 0.0})
    assert "image_to_mask" not in images_alone and "mask_to_image" in images_alone


def test_noise_differs_from_step_to_step_and_repeats_with_its_seed(eagerly):
    still = {"training.generator_learning_rate": 1e-30, "training.critic_learning_rate": 1e-30}
    series = []
    for seed in (0, 0, 1):
        _, step, whole = step_of(still, seed=0)
        whole._seed = seed
        series.append([float(step()["cycle_image"]) for _ in range(2)])
    assert series[0] == series[1]
    assert len({*series[0], *series[2]}) == 4


def test_a_compiled_step_learns_to_translate_between_two_toy_domains():
    faster = {"training.generator_learning_rate": 2e-3, "losses.cycle_noise": 0.0, "losses.foreground_weights": [1.0]}
    _, step, _ = step_of(faster)
    series = [{name: float(value) for name, value in step().items()} for _ in range(30)]
    assert all(np.isfinite(list(values.values())).all() for values in series)
    for name in ("cycle_mask", "cycle_image", "supervised"):
        assert series[-1][name] < 0.75 * series[0][name], name


def test_the_start_trains_the_generators_alone_and_lowers_its_loss(eagerly):
    networks = build_networks(ONE_CLASS.model, 1, "float32", 0)
    start = StartStep(networks, 3e-3, "float32", None)
    before = weights_of(networks)
    image, mask = batch()
    series = [float(start(image, mask, tf.constant([1.0]))["supervised"]) for _ in range(8)]
    assert changed(before, networks) == {"image_to_mask", "mask_to_image"}
    assert series[-1] < series[0]


# ---- checkpoints


def variables(value, shape=(2, 3)):
    return {"a/0000": tf.Variable(np.full(shape, value, np.float32)), "b/0000": tf.Variable(value, dtype=tf.int64)}


RECORD = {
    "clock": {"epoch": 3, "step": 17, "seconds": 1.25, "losses": {"critics": [0.1 + 0.2, 3]}},
    "notes": ["5 µm", None, True, {}],
    "best": {"score": float("inf")},
}


def test_a_checkpoint_gives_back_the_state_and_the_record(tmp_path):
    path = save_checkpoint(tmp_path / "new" / "folder", 3, variables(7), RECORD, keep=2)
    assert path == tmp_path / "new" / "folder" / "epoch_0003.npz"
    state = variables(0)
    assert load_checkpoint(path, state) == RECORD
    for name, variable in variables(7).items():
        np.testing.assert_array_equal(state[name].numpy(), variable.numpy())


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    for epoch in range(1, 6):
        save_checkpoint(tmp_path, epoch, variables(epoch), RECORD, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch_0004.npz", "epoch_0005.npz"]
    assert latest_checkpoint(tmp_path).name == "epoch_0005.npz"


def test_a_protected_checkpoint_is_kept_however_old_and_can_be_gone_back_to(tmp_path):
    for epoch in range(1, 6):
        save_checkpoint(tmp_path, epoch, variables(epoch), RECORD | {"of": epoch}, keep=1, protected=[2, 3, 9])
    assert [epoch for epoch in range(10) if checkpoint_of(tmp_path, epoch)] == [2, 3, 5]
    state = variables(0)
    assert load_checkpoint(checkpoint_of(tmp_path, 2), state)["of"] == 2
    assert state["b/0000"].numpy() == 2
    save_checkpoint(tmp_path, 6, variables(6), RECORD, keep=1, protected=[3])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch_0003.npz", "epoch_0006.npz"]


def test_a_checkpoint_within_an_epoch_replaces_none_of_a_whole_epoch_and_goes_with_the_next(tmp_path):
    save_checkpoint(tmp_path, 9999, variables(1), RECORD, keep=1)
    for value in (2, 3):
        path = save_checkpoint(tmp_path, 9999, variables(value), RECORD, keep=1, interrupted=True)
    assert latest_checkpoint(tmp_path) == path
    load_checkpoint(path, state := variables(0))
    assert state["b/0000"].numpy() == 3
    load_checkpoint(checkpoint_of(tmp_path, 9999), state)
    assert state["b/0000"].numpy() == 1
    save_checkpoint(tmp_path, 10000, variables(1), RECORD, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch_10000.npz", "epoch_9999.npz"]


def test_the_means_of_an_epoch_are_the_same_when_it_was_written_down_in_its_middle():
    rng = np.random.default_rng(0)
    steps = [
        {"cycle": float(value)} | ({"critics": float(value) ** 2} if k > 2 else {})
        for k, value in enumerate(rng.random(7))
    ]
    whole, before = Clock(), Clock()
    for losses_of_step in steps:
        whole.add(losses_of_step)
    for losses_of_step in steps[:4]:
        before.add(losses_of_step)
    after = Clock(**json.loads(json.dumps(dataclasses.asdict(before))))
    for losses_of_step in steps[4:]:
        after.add(losses_of_step)
    means = whole.next_epoch()
    assert after.next_epoch() == means
    for name in ("cycle", "critics"):
        assert means[name] == pytest.approx(np.mean([of_step[name] for of_step in steps if name in of_step]))
    assert (whole.epoch, whole.losses) == (1, {})


def test_the_newest_checkpoint_is_that_of_the_highest_epoch_beyond_9999_too(tmp_path):
    for epoch in (9998, 9999, 10000, 10001):
        save_checkpoint(tmp_path, epoch, variables(1), RECORD, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch_10000.npz", "epoch_10001.npz"]
    assert latest_checkpoint(tmp_path).name == "epoch_10001.npz"


def assert_refused(path, state, said):
    before = {name: variable.numpy() for name, variable in state.items()}
    with pytest.raises(errors.ModelError, match=said) as caught:
        load_checkpoint(path, state)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    for name, value in before.items():
        np.testing.assert_array_equal(state[name].numpy(), value)


@few
@given(data=st.data())
def test_a_damaged_checkpoint_is_refused_and_changes_no_variable(tmp_path, data):
    path = save_checkpoint(tmp_path, 1, variables(7, (5, 5)), RECORD, keep=1)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans(), label="cut short"):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:  # A bit in the arrays' values, which zip keeps a checksum of.
        place = content.index(np.float32(7).tobytes()) + data.draw(st.integers(0, 99))
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    assert_refused(path, variables(0, (5, 5)), "damaged checkpoint")


@pytest.mark.parametrize("content", [b"", b"no zip", b"\x93NUMPY"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "epoch_0001.npz"
    path.write_bytes(content)
    assert_refused(path, variables(0), "damaged checkpoint")


def test_what_to_do_about_a_damaged_checkpoint_depends_on_whether_there_is_an_older_one(tmp_path):
    first = save_checkpoint(tmp_path, 1, variables(1), RECORD, keep=2)
    second = save_checkpoint(tmp_path, 1, variables(2), RECORD, keep=2, interrupted=True)
    for path in (first, second):
        path.write_bytes(path.read_bytes()[:-30])
    assert_refused(
        second, variables(0), r"; delete this file to resume from epoch_0001\.npz, or start again with --over"
    )
    assert_refused(first, variables(0), r"\); start again with --overwrite$")


def test_a_checkpoint_of_other_settings_is_refused_and_changes_no_variable(tmp_path):
    path = save_checkpoint(tmp_path, 1, variables(7), RECORD, keep=1)
    assert_refused(path, variables(0, (2, 4)), r"other settings \(a/0000 differs\)")
    assert_refused(path, variables(0) | {"c/0000": tf.Variable(1.0)}, r"other settings \(c/0000 differs\)")
    fewer = {"b/0000": tf.Variable(0, dtype=tf.int64)}
    assert_refused(path, fewer, "other settings")


def test_a_checkpoint_that_cannot_be_written_leaves_the_older_ones(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, 1, variables(1), RECORD, keep=1)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    with pytest.raises(errors.OutputError, match="No space left"):
        save_checkpoint(tmp_path, 2, variables(2), RECORD, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch_0001.npz"]


# ---- preparation


@pytest.fixture(scope="module")
def stack():
    """Simulated: two channels, golgi and nuclei."""
    return simulate_stack((20, 72, 80), seed=4).image


def nuclei_of(stack, voxel_size_um=None):
    return Volume(stack.array[..., 1:], voxel_size_um, "cells")


OPEN = ONE_CLASS.replace({"losses.class_weights": None, "losses.foreground_weights": None})


@pytest.mark.parametrize(
    ("channels", "classes", "class_weights"), [((1,), ("nuclei",), (1.0,)), ((0, 1), ("golgi", "nuclei"), (3.5, 1.0))]
)
def test_channels_say_the_classes_and_the_classes_their_weights(stack, channels, classes, class_weights):
    prepared = prepare([stack.select_channels(channels)], None, OPEN)
    assert prepared.config.classes == classes
    assert prepared.config.losses.class_weights == class_weights
    assert prepared.prior.class_names == classes
    assert {image.shape[-1] for image in prepared.images} == {one.numbers.shape[-1] for one in prepared.objects}


@pytest.mark.parametrize(
    ("changes", "class_weights"),
    [
        ({"classes": ["nuclei", "golgi"]}, (1.0, 3.5)),
        ({"classes": ["er", "nuclei"]}, (1.0, 1.0)),
        ({"losses.class_weights": [2.0, 0.5]}, (2.0, 0.5)),
    ],
)
def test_class_weights_are_those_given_or_else_three_and_a_half_for_golgi(stack, changes, class_weights):
    prepared = prepare([stack], [stack > 800], OPEN.replace(changes))
    assert prepared.config.losses.class_weights == class_weights


@pytest.mark.parametrize(
    ("n_channels", "changes", "said"),
    [
        (3, {}, "cells: has 3 channels, and no classes are named"),
        (2, {"classes": ["er"]}, "cells: has 2 channels, but the classes are 1: er"),
        (1, {"classes": ["a", "b"]}, "cells: has 1 channel, but the classes are 2: a, b"),
    ],
)
def test_a_number_of_channels_that_does_not_fit_the_classes_is_an_error(stack, n_channels, changes, said):
    volume = Volume(np.repeat(stack.array[..., :1], n_channels, axis=-1), None, "cells")
    with pytest.raises(errors.ChannelError, match=said):
        prepare([volume], None, OPEN.replace(changes))


def test_masks_of_another_number_of_channels_are_an_error(stack):
    masks = Volume(stack.array[..., :1] > 800, None, "drawn")
    with pytest.raises(errors.ChannelError, match="drawn: has 1 channel, but the classes are 2"):
        prepare([stack], [masks], OPEN)


@pytest.mark.parametrize("key", ["class_weights", "foreground_weights"])
def test_weights_for_another_number_of_classes_are_an_error(stack, key):
    with pytest.raises(errors.ConfigError, match=f"losses.{key}"):
        prepare([stack], [stack > 800], OPEN.replace({f"losses.{key}": [1.0, 2.0, 3.0]}))


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.full((9, 9, 9), 3), "constant"),
        (np.full((9, 9, 9), np.nan, np.float32), "NaN"),
        (np.zeros((0, 9, 9)), "no voxels"),
    ],
)
def test_a_stack_that_cannot_be_learned_from_is_an_error(array, said):
    with pytest.raises(errors.VolumeContentError, match=said):
        prepare([Volume(array)], None, OPEN)


def test_no_stacks_at_all_are_an_error():
    with pytest.raises(errors.OptionError, match="at least one stack"):
        prepare([], None, OPEN)


@pytest.mark.parametrize(
    ("given", "voxels"),
    [(16, 16), (16.5, 16.5), ("16", 16), ("8um", 16), ("8 um", 16), (" 8 UM", 16), ("8µm", 16), ("8μm", 16)],
)
def test_a_diameter_is_in_voxels_along_x_or_in_micrometres(given, voxels):
    assert diameter_in_voxels("nuclei", given, (2.0, 1.0, 0.5)) == pytest.approx(voxels)


@pytest.mark.parametrize("given", ["", "um", "large", "0", "-3", "nan", "inf", "8mm", None, True, [8]])
def test_a_diameter_that_is_none_is_an_error_that_names_it(given):
    with pytest.raises(errors.OptionError, match="--object-diameter: received 'nuclei=") as caught:
        diameter_in_voxels("nuclei", given, (1.0, 1.0, 1.0))
    assert str(given) in str(caught.value)


def test_a_diameter_in_micrometres_wants_a_voxel_size():
    with pytest.raises(errors.OptionError, match="cells has no voxel size"):
        diameter_in_voxels("nuclei", "8um", None, "cells")


@pytest.mark.parametrize(
    ("size", "given", "found"),
    [
        (None, 10, 10),
        (None, 10.1, None),
        ((2.0, 0.5, 0.5), 16, 16),
        ((2.0, 0.5, 0.5), "8um", 16),
        ((2.0, 0.5, 0.5), 16.5, None),
        ((2.0, 0.5, 0.5), "16um", None),
        ((0.72, 0.72, 0.72), 10, 10),
        ((0.05, 0.05, 0.05), "0.5um", 10),
    ],
)
def test_no_object_is_larger_than_the_stack_it_lies_in(size, given, found):
    grid = Grid((4, 8, 10), 1, size, "cells")
    if found is None:
        with pytest.raises(errors.OptionError, match=r"received 'nuclei=.*cells is (10|16) voxels .*longest side"):
            diameters_in_voxels({"nuclei": given}, ["nuclei"], grid, [grid])
    else:
        assert diameters_in_voxels({"nuclei": given}, ["nuclei"], grid, [grid]) == {"nuclei": pytest.approx(found)}


@pytest.mark.parametrize(("classes", "n_notes"), [(None, 1), (("golgi", "nuclei"), 0)])
def test_classes_that_nobody_named_are_noted(stack, classes, n_notes):
    notes = prepare([stack], None, OPEN.replace({"classes": classes})).notes
    assert notes.count("channel 0 is taken for golgi, channel 1 for nuclei; --classes changes it") == n_notes


@pytest.mark.parametrize(("size", "n_notes"), [(None, 1), ((2.0, 0.5, 0.5), 0)])
def test_a_voxel_size_that_nothing_tells_is_noted(stack, size, n_notes):
    notes = prepare([Volume(stack.array, size)], None, OPEN).notes
    assert sum("the voxel size is not known" in note for note in notes) == n_notes


@pytest.mark.parametrize(
    ("sizes", "n_notes"),
    [([(2.0, 0.5, 0.5), (1.0, 0.5, 0.5)], 1), ([(2.0, 0.5, 0.5), (2.0, 0.51, 0.5)], 0), ([(2.0, 0.5, 0.5), None], 0)],
)
def test_voxels_that_differ_in_size_from_stack_to_stack_are_noted(stack, sizes, n_notes):
    notes = prepare([Volume(stack.array, size, f"stack {k}") for k, size in enumerate(sizes)], None, OPEN).notes
    said = "voxels differ in size: 2 x 0.5 x 0.5 um in stack 0, 1 x 0.5 x 0.5 um in stack 1"
    assert sum(note.startswith(said) for note in notes) == n_notes


def test_one_stack_has_to_have_room_for_an_object_and_a_crop_to_predict_has_not():
    crop, whole = Grid((4, 8, 10), 1, None, "crop"), Grid((40, 80, 100), 1, None, "whole")
    assert diameters_in_voxels({"nuclei": 33}, ["nuclei"], crop, [crop, whole]) == {"nuclei": 33}
    assert diameters_in_voxels({"nuclei": 33}, ["nuclei"], crop) == {"nuclei": 33}
    with pytest.raises(errors.OptionError, match="whole is 100 voxels along"):
        diameters_in_voxels({"nuclei": 101}, ["nuclei"], crop, [crop, whole])


def test_a_diameter_of_an_unknown_class_is_an_error(stack):
    with pytest.raises(errors.OptionError, match="received 'er'; the classes are golgi, nuclei"):
        prepare([stack], None, OPEN.replace({"synthesis.diameters": {"er": 4}}))


def test_given_diameters_make_the_prior_on_the_stacks_own_grid(stack):
    image = nuclei_of(stack, (1.0, 0.5, 0.5))
    prepared = prepare([image], None, OPEN.replace({"synthesis.diameters": {"nuclei": "8um"}}))
    assert voxel_aspect(image) == (2.0, 1.0, 1.0)
    fill_fraction = prepared.prior.objects[0].fill_fraction
    assert prepared.prior == prior_for({"nuclei": 8.0}, fill_fraction, unit="um", axial_elongation=1.2)
    assert prepared.voxel_size == (1.0, 0.5, 0.5)
    # 16 voxels along X become 8: every second voxel; along Z they are 8 already.
    assert prepared.config.preprocessing.downsampling == (1, 2, 2)


@pytest.mark.parametrize(
    ("diameter", "voxel_size", "factors"),
    [(8, None, (1, 1, 1)), (4, None, (1, 1, 1)), (24, None, (2, 3, 3)), (16, (4.0, 1.0, 1.0), (1, 2, 2))],
)
def test_the_grid_follows_the_size_of_the_objects_but_no_stack_gets_thinner_than_half_a_patch(
    stack, diameter, voxel_size, factors
):
    config = OPEN.replace({"synthesis.diameters": {"nuclei": diameter}})
    prepared = prepare([nuclei_of(stack, voxel_size)], None, config)
    assert prepared.config.preprocessing.downsampling == factors
    wanted = tuple(-(-side // factor) for side, factor in zip(stack.shape, factors, strict=True))
    assert prepared.images[0].shape == (*wanted, 1)


def test_images_are_averaged_to_the_grid_and_stretched_by_their_own_percentiles(stack):
    config = OPEN.replace({"preprocessing.downsampling": [2, 2, 2], "preprocessing.percentiles": [10, 90]})
    dim = Volume(stack.array // 4 + 7, None, "dim")
    prepared = prepare([stack, dim], None, config)
    for volume, image in zip((stack, dim), prepared.images, strict=True):
        coarse = volume.array.astype(float).reshape(10, 2, 36, 2, 40, 2, 2).mean(axis=(1, 3, 5))
        low, high = np.percentile(coarse, (10, 90), axis=(0, 1, 2))
        np.testing.assert_allclose(image, np.clip((coarse - low) / (high - low) * 2 - 1, -1, 1), atol=1e-4)
        assert image.dtype == np.float32


def test_given_masks_are_used_and_nothing_is_drawn(stack):
    truth = simulate_stack((18, 40, 44), seed=9).truth.array * 255
    prepared = prepare([stack], [Volume(truth)], OPEN.replace({"preprocessing.downsampling": [2, 2, 2]}))
    assert prepared.prior is None
    assert prepared.config.synthesis.prior is None
    (objects,) = prepared.objects
    coverage = (truth > 0).reshape(9, 2, 20, 2, 22, 2, 2).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(objects.coverage, coverage, atol=1e-6)
    np.testing.assert_array_equal(objects.numbers > 0, coverage > 0)
    for k in range(2):
        numbered, n_objects = ndimage.label(truth[..., k])
        blocks = numbered.reshape(9, 2, 20, 2, 22, 2).max(axis=(1, 3, 5))
        np.testing.assert_array_equal(objects.numbers[..., k], blocks)
        assert n_objects > 1


def test_the_grid_follows_given_masks_alike_whatever_their_objects_are_marked_with(stack):
    numbers = simulate_stack((40, 72, 80), prior_for({"golgi": 20.0, "nuclei": 20.0}, 0.2), seed=2).truth.objects
    image = Volume(np.repeat(stack.array, 2, axis=0))
    found = {
        prepare([image], [Volume(marked)], OPEN).config.preprocessing.downsampling
        for marked in (numbers, numbers > 0, (numbers > 0) * np.uint8(255), (numbers > 0).astype(np.float32))
    }
    assert found == {(2, 2, 2)}


def test_masks_without_an_object_are_an_error(stack):
    with pytest.raises(errors.PriorError, match="hold no object"):
        prepare([stack], [Volume(np.zeros((20, 20, 20, 2), np.uint8))], OPEN)


def test_the_papers_prior_is_drawn_as_it_is_where_the_fill_is_not_asked_for(stack):
    prepared = prepare([stack], None, OPEN.replace({"synthesis.fill_from_stack": False}))
    assert prepared.prior == NUCLEI_AND_GOLGI
    assert Prior.from_dict(prepared.config.synthesis.prior) == NUCLEI_AND_GOLGI


def test_a_given_prior_is_drawn_and_must_describe_the_classes(stack):
    mine = prior_for({"golgi": 6.0, "nuclei": 12.0}, (0.05, 0.1))
    config = OPEN.replace({"synthesis.prior": mine.to_dict()})
    assert prepare([stack], None, config).prior == mine
    with pytest.raises(errors.PriorError, match="it draws golgi, nuclei, but the classes are nuclei, golgi"):
        prepare([stack], None, config.replace({"classes": ["nuclei", "golgi"]}))


def test_masks_are_drawn_in_the_shape_of_the_stacks_within_the_limits(stack):
    config = OPEN.replace({"synthesis.n_masks": 3, "preprocessing.downsampling": [1, 1, 1]})
    small = Volume(stack.array[:9, :20], None, "small")
    prepared = prepare([stack, small], None, config)
    assert [one.numbers.shape for one in prepared.objects] == [(16, 32, 32, 2), (16, 20, 32, 2), (16, 32, 32, 2)]
    assert len({one.numbers.tobytes() for one in prepared.objects}) == 3


def test_rare_classes_weigh_by_the_root_of_their_rarity(stack):
    masks = np.zeros((20, 20, 20, 2), np.uint8)
    masks[:4, :10, :10, 0] = 1  # 5 per cent.
    masks[:16, ..., 1] = 1  # 80 per cent.
    config = OPEN.replace({"preprocessing.downsampling": [1, 1, 1]})
    weights = prepare([stack], [Volume(masks)], config).config.losses.foreground_weights
    assert weights == pytest.approx((np.sqrt(0.95 / 0.05), 1.0), abs=1e-3)


@pytest.mark.parametrize("channels", [(1,), (0, 1)])
def test_the_resolved_configuration_prepares_the_same_again_and_settles_nothing_anew(stack, channels):
    image = stack.select_channels(channels)
    first = prepare([image], None, OPEN)
    resolved = first.config
    assert None not in (resolved.classes, resolved.losses.class_weights, resolved.losses.foreground_weights)
    assert None not in (resolved.preprocessing.downsampling, resolved.synthesis.prior)
    again = prepare([image], None, from_dict(resolved.to_dict()))
    assert again.config == resolved
    for one, other in zip(first.images, again.images, strict=True):
        np.testing.assert_array_equal(one, other)
    fills = dict.fromkeys(first.prior.channels(), 0.1)
    masks = zip(first.objects + first.redrawn(fills), again.objects + again.redrawn(fills), strict=True)
    for one, other in masks:
        np.testing.assert_array_equal(one.numbers, other.numbers)
        np.testing.assert_array_equal(one.coverage, other.coverage)


def test_another_seed_draws_other_masks(stack):
    one, other = (prepare([nuclei_of(stack)], None, OPEN.replace({"seed": seed})).objects for seed in (0, 1))
    assert any((a.numbers != b.numbers).any() for a, b in zip(one, other, strict=True))


def test_masks_drawn_anew_are_about_as_full_as_asked_for(stack):
    config = OPEN.replace({"synthesis.diameters": {"nuclei": 8}, "synthesis.maximum_shape": [32, 64, 64]})
    prepared = prepare([Volume(np.repeat(stack.array[..., 1:], 2, axis=0))], None, config)
    for fill in (0.05, 0.2):
        drawn = np.mean([one.coverage.mean() for one in prepared.redrawn({"nuclei": fill})])
        assert 0.8 * fill < drawn < 1.3 * fill


# ---- weights of object voxels


def test_object_voxels_weigh_less_until_the_fade_ends_and_only_epochs_after_it_stay_candidates():
    values = np.random.default_rng(0).random((16, 16, 16, 1)).astype(np.float32)
    config = TINY.replace(
        {
            "preprocessing.downsampling": [1, 1, 1],
            "synthesis.diameters": {"nuclei": 6},
            "losses.foreground_weights": [4.0],
            "losses.foreground_power": 0.5,
            "losses.foreground_fade": 0.5,
            "training.start_fraction": 0.8,
        }
    )
    trainer = CycleGANTrainer(prepare([Volume(values)], None, config))
    for progress, weight in ((0.0, 4.0), (0.2, 3.0), (0.4, 2.0), (0.7, 2.0), (1.0, 2.0)):
        assert trainer._foreground_weights(progress).numpy() == pytest.approx([weight])
    course = trainer.beginning()
    for epoch, progress in enumerate((0.2, 0.3, 0.4, 0.6), start=1):
        course.clock = dataclasses.replace(course.clock, epoch=epoch)
        trainer.judge(course, progress, True)
        assert course.selection.epochs == ({*range(1, epoch + 1)} if progress < 0.4 else {*range(3, epoch + 1)})


# ---- previews


def test_a_preview_shows_no_reflection_of_a_stack_smaller_than_a_patch():
    values = np.random.default_rng(0).random((5, 12, 30, 1)).astype(np.float32)
    config = TINY.replace({"preprocessing.downsampling": [1, 1, 1], "synthesis.diameters": {"nuclei": 6}})
    prepared = prepare([Volume(values)], None, config)
    trainer = CycleGANTrainer(prepared)
    for i in range(3):
        patch, crop = previews.patch_to_show(prepared.images[0], (16, 16, 16), np.random.default_rng(i))
        assert patch.shape == (16, 16, 16, 1)
        assert patch[crop].shape == (5, 12, 16, 1)
        starts = [x for x in range(15) if np.array_equal(prepared.images[0][:, :, x : x + 16], patch[crop])]
        assert len(starts) == 1
    figure = trainer.preview("epoch 1")
    assert figure.axes[0].images[0].get_array().shape == (12, 16, 3)
    assert figure.axes[3].images[0].get_array().shape == (16, 16, 3)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["nuclei"]


def test_a_trainer_can_go_back_to_before_its_masks_were_drawn_anew_and_forth_again(tmp_path):
    values = np.random.default_rng(0).random((16, 16, 16, 1)).astype(np.float32)
    config = TINY.replace({"preprocessing.downsampling": [1, 1, 1], "synthesis.diameters": {"nuclei": 6}})
    trainer = CycleGANTrainer(prepare([Volume(values)], None, config))

    def saved(epoch):
        (mask,) = trainer._next("masks", 5)
        return save_checkpoint(tmp_path, epoch, trainer.state(), {}, keep=2), mask.numpy()

    before = saved(1)
    trainer._redraw_masks()
    after = saved(2)
    assert (before[1] != after[1]).any()
    for path, mask in (before, after, before):
        load_checkpoint(path, trainer.state())
        trainer.restored()
        np.testing.assert_array_equal(trainer._next("masks", 5)[0].numpy(), mask)
    trainer._redraw_masks()
    assert sum("drawn anew" in note for note in trainer.notes) == 1


def test_images_are_shown_between_percentiles_of_the_real_ones_and_masks_as_they_are():
    dark = [np.linspace(-1, -0.8, 101, dtype=np.float32).reshape(1, 101, 1)]
    (shown,) = previews.image_display(dark, like=dark)
    np.testing.assert_allclose(shown.ravel(), np.clip((np.arange(101) - 2) / 97, 0, 1), atol=1e-4)
    (other,) = previews.image_display([np.full((2, 2, 1), -0.9, np.float32)], like=dark)
    np.testing.assert_allclose(other, 48 / 97, atol=1e-4)
    np.testing.assert_allclose(previews.mask_display([np.array([-1.0, 0.0, 1.0])]), [[0, 0.5, 1]])


def test_the_legend_of_a_preview_has_each_class_in_its_colour():
    plane = np.zeros((4, 4, 2))
    figure = previews.preview_figure([("patch 1", [plane])], ["image"], ("golgi", "nuclei"))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["golgi", "nuclei"]
    assert [patch.get_facecolor()[:3] for patch in legend.get_patches()] == [(1, 0, 1), (0, 1, 0)]
