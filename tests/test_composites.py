"""Separate updates: each network moves by its own composite, one after another, as a plain program of it says."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tiny import TINY
from tfcyclegan3d.synthesis.simulation import simulate_stack
from tfcyclegan3d.training import cyclegan
from tfcyclegan3d.training.composites import SeparateStep
from tfcyclegan3d.training.cyclegan import CycleGANStep
from tfcyclegan3d.training.cyclegan_trainer import CycleGANTrainer
from tfcyclegan3d.training.networks import build_networks
from tfcyclegan3d.training.preparation import prepare

ADVERSARIAL, IDENTITY, CYCLE, CLASS_WEIGHT, RATE, CRITIC_RATE = 1.0, 5.0, 10.0, 2.0, 3e-3, 2e-2
CONFIG = TINY.replace(
    {
        "losses.adversarial": ADVERSARIAL,
        "losses.adversarial_mask": None,
        "losses.cycle_mask": "l1",
        "losses.identity": IDENTITY,
        "losses.cycle": CYCLE,
        "losses.class_weights": [CLASS_WEIGHT],
        "losses.foreground_weights": [1.0],
        "losses.supervised": 0.0,
        "losses.supervised_end": 0.0,
        "losses.cycle_noise": 0.0,
        "losses.critic_noise": 0.0,
        "model.residual": "concatenate",
        "model.output_normalization": "instance",
        "training.generator_learning_rate": RATE,
        "training.critic_learning_rate": CRITIC_RATE,
        "training.generator_update": "separate",
        "training.pool_size": 0,
    }
)
NAMES = ("image_to_mask", "mask_to_image", "mask_critic", "image_critic")


@pytest.fixture(autouse=True)
def eagerly():
    """Run steps without compiling them: seconds less for a step or two."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def plain_descent(monkeypatch):
    """Let every optimiser descend along the gradient itself, so that weights tell the gradients they were moved by."""
    monkeypatch.setattr(cyclegan, "FusedAdam", lambda beta_1: keras.optimizers.SGD())


def step_of(kind, config=CONFIG):
    networks = build_networks(config.model, 1, "float32", 0)
    step = kind(networks, config.losses, config.training, "float32", 0, None)
    rng = np.random.default_rng(0)
    image, mask = (tf.constant(rng.uniform(-1, 1, (2, 16, 16, 16, 1)), tf.float32) for _ in range(2))
    return networks, image, mask, lambda: step(image, mask, mask, mask, tf.constant(0.0), tf.constant([1.0]))


def weights_of(networks):
    return {name: [weight.copy() for weight in getattr(networks, name).get_weights()] for name in NAMES}


def same(ones, others):
    return all(np.allclose(one, other, rtol=1e-4, atol=1e-6) for one, other in zip(ones, others, strict=True))


def descend(network, loss_of, rate):
    with tf.GradientTape() as tape:
        loss = loss_of()
    for weight, slope in zip(
        network.trainable_variables, tape.gradient(loss, network.trainable_variables), strict=True
    ):
        weight.assign_sub(rate * slope)


def mean(tensor):
    return tf.reduce_mean(tensor)


def train_by_hand(networks, image, mask):
    """One step of the published code: a composite and a critic of one direction, then of the other."""
    fake_mask, fake_image = networks.image_to_mask(image), networks.mask_to_image(mask)
    for own, other, critic, source, target, fake in (
        (networks.mask_to_image, networks.image_to_mask, networks.image_critic, mask, image, fake_image),
        (networks.image_to_mask, networks.mask_to_image, networks.mask_critic, image, mask, fake_mask),
    ):

        def composite(own=own, other=other, critic=critic, source=source, target=target):
            adversarial = mean((critic(own(source)) - 1) ** 2)
            identity = CLASS_WEIGHT * mean(tf.abs(own(target) - target))
            forward = CLASS_WEIGHT * mean(tf.abs(other(own(source)) - source))
            backward = CLASS_WEIGHT * mean(tf.abs(own(other(target)) - target))
            return ADVERSARIAL * adversarial + IDENTITY * identity + CYCLE * (forward + backward)

        descend(own, composite, RATE)
        descend(critic, lambda critic=critic, target=target: 0.5 * mean((critic(target) - 1) ** 2), CRITIC_RATE)
        descend(critic, lambda critic=critic, fake=fake: 0.5 * mean(critic(fake) ** 2), CRITIC_RATE)


def test_a_separate_step_moves_every_network_as_its_own_composite_says(plain_descent):
    networks, image, mask, step = step_of(SeparateStep)
    by_hand = build_networks(CONFIG.model, 1, "float32", 0)
    before = weights_of(networks)
    step()
    train_by_hand(by_hand, image, mask)
    found, wanted = weights_of(networks), weights_of(by_hand)
    for name in NAMES:
        assert not same(found[name], before[name]), name
        assert same(found[name], wanted[name]), name


def test_the_second_generator_answers_to_the_firsts_update_and_critics_move_twice_which_a_joint_step_does_not_do(
    plain_descent,
):
    after = {}
    for kind in (SeparateStep, CycleGANStep):
        networks, _, _, step = step_of(kind)
        step()
        after[kind] = weights_of(networks)
    # At the same weights the joint loss slopes for a generator as its composite does.
    assert same(after[SeparateStep]["mask_to_image"], after[CycleGANStep]["mask_to_image"])
    for name in ("image_to_mask", "image_critic", "mask_critic"):
        assert not same(after[SeparateStep][name], after[CycleGANStep][name]), name


@pytest.mark.parametrize("moved", ["image_to_mask", "mask_to_image"])
def test_a_composite_reaches_its_own_generator_alone_and_the_joint_loss_both(moved):
    networks = build_networks(CONFIG.model, 1, "float32", 0)
    for kind, reached in ((SeparateStep, {moved}), (CycleGANStep, {"image_to_mask", "mask_to_image"})):
        step = kind(networks, CONFIG.losses, CONFIG.training, "float32", 0, None)
        before = weights_of(networks)
        batch = [tf.random.stateless_uniform((1, 16, 16, 16, 1), (1, k), -1, 1) for k in range(4)]
        optimizer = f"{moved}_optimizer" if kind is SeparateStep else "generator_optimizer"
        step._descend(optimizer, lambda: step._generators_loss(*batch, tf.constant(0.0), tf.constant([1.0])))  # noqa: B023
        after = weights_of(networks)
        changed = {
            name
            for name in NAMES
            if any((one != other).any() for one, other in zip(before[name], after[name], strict=True))
        }
        assert changed == reached


def test_the_losses_of_a_separate_step_are_those_of_a_joint_one_on_the_same_networks():
    still = CONFIG.replace({"training.critic_learning_rate": 1e-30})  # A critic's second update sees its first one.
    of_kinds = [step_of(kind, still)[-1]() for kind in (SeparateStep, CycleGANStep)]
    separate, joint = ({name: float(value) for name, value in terms.items()} for terms in of_kinds)
    assert separate == pytest.approx(joint, rel=1e-5)


@pytest.fixture(scope="module")
def prepared():
    return prepare([simulate_stack((16, 40, 40), seed=4).image.select_channels((1,))], None, CONFIG)


def test_every_optimiser_is_part_of_the_state_so_that_a_training_goes_on_as_if_never_stopped(prepared):
    whole, resumed = CycleGANTrainer(prepared), CycleGANTrainer(prepared)
    names = {name.split("/")[0] for name in whole.state()}
    assert {f"{name}_optimizer" for name in NAMES} <= names
    whole.step(0, 0.9)
    for name, variable in resumed.state().items():
        variable.assign(whole.state()[name].numpy())
    resumed.restored()
    for trainer in (whole, resumed):
        trainer.step(1, 0.9)
    for name in NAMES:
        for one, other in zip(
            getattr(whole.networks, name).get_weights(), getattr(resumed.networks, name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(one, other)
    iterations = {name: int(one.iterations.numpy()) for name, one in resumed._gan.optimizers.items()}
    assert iterations == {f"{name}_optimizer": 4 if "critic" in name else 2 for name in NAMES}


def test_generators_and_critics_learn_at_the_rates_of_their_own(prepared):
    trainer = CycleGANTrainer(prepared)
    trainer._gan.set_learning_rates(0.25, 0.125)
    rates = {name: float(one.learning_rate.numpy()) for name, one in trainer._gan.optimizers.items()}
    assert rates == {f"{name}_optimizer": 0.125 if "critic" in name else 0.25 for name in NAMES}
