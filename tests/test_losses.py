"""Every loss equals its formula worked out in NumPy or by hand, and is least where it should be."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfcyclegan3d import losses

SHAPE = (2, 3, 4, 5, 2)
WEIGHTS = (3.5, 1.0)


def values(seed, low=-1.0, high=1.0, shape=SHAPE):
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def a_mask(seed, share=0.2):
    return np.where(np.random.default_rng(seed).random(SHAPE) < share, 1, -1).astype(np.float32)


def gradient(loss, at):
    variable = tf.Variable(at)
    with tf.GradientTape() as tape:
        value = loss(variable)
    return tape.gradient(value, variable).numpy()


# --- adversarial


def test_the_generators_least_squares_loss_is_the_mean_square_distance_of_its_scores_from_one():
    assert float(losses.least_squares_generator_loss(np.array([[0.0, 1.0, 3.0]], np.float32))) == pytest.approx(5 / 3)
    scores = values(0, -2, 2)
    expected = np.mean((scores.astype(float) - 1) ** 2)
    assert float(losses.least_squares_generator_loss(scores)) == pytest.approx(expected, rel=1e-5)


def test_the_generator_is_content_where_the_critic_says_real_and_pushes_scores_up_elsewhere():
    assert float(losses.least_squares_generator_loss(np.ones((1, 4, 4, 4, 1), np.float32))) == 0
    below = np.full((1, 2, 2, 2, 1), 0.25, np.float32)
    np.testing.assert_allclose(gradient(losses.least_squares_generator_loss, below), 2 * (0.25 - 1) / 8, rtol=1e-6)


def test_the_critics_least_squares_loss_is_half_the_sum_of_both_mean_squares():
    real, fake = np.array([[1.0, 0.0]], np.float32), np.array([[2.0, 0.0, 1.0, -1.0]], np.float32)
    # Real: (0 + 1) / 2; fake: (4 + 0 + 1 + 1) / 4; half of the sum.
    assert float(losses.least_squares_critic_loss(real, fake)) == pytest.approx(0.5 * (0.5 + 1.5))


def test_the_critics_loss_is_nought_for_a_perfect_critic_and_a_quarter_for_one_that_cannot_tell():
    ones, noughts = np.ones((1, 4, 4, 4, 1), np.float32), np.zeros((1, 4, 4, 4, 1), np.float32)
    assert float(losses.least_squares_critic_loss(ones, noughts)) == 0
    assert float(losses.least_squares_critic_loss(0.5 * ones, 0.5 * ones)) == 0.25
    assert float(losses.least_squares_critic_loss(noughts, ones)) == 1
    for score in (0.3, 0.7):
        assert float(losses.least_squares_critic_loss(score * ones, score * ones)) > 0.25


# --- L1


def test_the_weighted_l1_sums_the_classes_mean_distances_with_their_weights():
    target = np.zeros((1, 1, 1, 2, 2), np.float32)
    output = np.array([[0.5, -1.0], [-0.1, 0.2]], np.float32).reshape(target.shape)
    # Class 0: (0.5 + 0.1) / 2 = 0.3; class 1: (1 + 0.2) / 2 = 0.6.
    assert float(losses.weighted_l1(target, output, WEIGHTS)) == pytest.approx(3.5 * 0.3 + 0.6)
    target, output = values(1), values(2)
    error = np.abs(target.astype(float) - output).mean(axis=(0, 1, 2, 3))
    assert float(losses.weighted_l1(target, output, WEIGHTS)) == pytest.approx(error @ WEIGHTS, rel=1e-5)


def test_both_l1_losses_are_nought_for_the_target_itself_and_above_it_elsewhere():
    target = a_mask(3)
    for loss in (losses.weighted_l1, lambda t, o, w: losses.balanced_l1(t, o, w, (4.0, 2.0))):
        assert float(loss(target, target, WEIGHTS)) == 0
        for seed in range(3):
            assert float(loss(target, target + 0.1 * values(seed), WEIGHTS)) > 0


def test_an_l1_loss_does_not_depend_on_how_often_a_sample_is_repeated():
    target, output = a_mask(4), values(5)
    twice = [np.concatenate([part, part]) for part in (target, output)]
    for loss in (losses.weighted_l1, lambda t, o, w: losses.balanced_l1(t, o, w, (4.0, 2.0))):
        assert float(loss(*twice, WEIGHTS)) == pytest.approx(float(loss(target, output, WEIGHTS)), rel=1e-5)


def test_the_balanced_l1_weighs_object_voxels_and_divides_by_the_sum_of_weights():
    # One object voxel of error 0.5 and three of background of error 0.1, weighing 4: (4 * 0.5 + 3 * 0.1) / (4 + 3).
    target = np.array([1, -1, -1, -1], np.float32).reshape(1, 1, 1, 4, 1)
    output = np.array([0.5, -0.9, -0.9, -0.9], np.float32).reshape(1, 1, 1, 4, 1)
    assert float(losses.balanced_l1(target, output, (2.0,), (4.0,))) == pytest.approx(2 * 2.3 / 7)


def test_the_balanced_l1_equals_its_formula_in_numpy_for_two_classes():
    target, output, foreground = a_mask(6), values(7), (5.0, 2.0)
    balance = np.where(target > 0, foreground, 1.0)
    each = (balance * np.abs(target - output.astype(float))).mean(axis=(1, 2, 3)) / balance.mean(axis=(1, 2, 3))
    expected = each.mean(axis=0) @ WEIGHTS
    assert float(losses.balanced_l1(target, output, WEIGHTS, foreground)) == pytest.approx(expected, rel=1e-5)


def test_the_balanced_l1_with_weights_of_one_is_the_plain_one():
    target, output = a_mask(8), values(9)
    plain = float(losses.weighted_l1(target, output, WEIGHTS))
    assert float(losses.balanced_l1(target, output, WEIGHTS, (1.0, 1.0))) == pytest.approx(plain, rel=1e-5)


def test_an_empty_mask_costs_less_than_a_wrong_one_in_plain_l1_but_not_in_the_balanced_one():
    target = a_mask(10, share=0.05)
    empty, half_right = -np.ones_like(target), target.copy()
    # Finds every object, and as much again beside them, twice over.
    half_right[np.random.default_rng(0).random(SHAPE) < 0.15] = 1
    assert float(losses.weighted_l1(target, empty, WEIGHTS)) < float(losses.weighted_l1(target, half_right, WEIGHTS))
    balanced = [float(losses.balanced_l1(target, output, WEIGHTS, (10.0, 10.0))) for output in (empty, half_right)]
    assert balanced[1] < balanced[0]


# --- cross-entropy


def log_loss(target, logits, foreground=(1.0, 1.0)):
    """The weighted cross-entropy of p = (tanh(logits) + 1) / 2, straight from the probability in float64."""
    p = (np.tanh(logits.astype(float)) + 1) / 2
    return np.mean(np.where(target > 0, -np.log(p) * foreground, -np.log(1 - p)))


def test_the_balanced_cross_entropy_is_that_of_the_probability_a_tanh_output_stands_for():
    target, logits = a_mask(11), values(12, -3, 3)
    for foreground in ((1.0, 1.0), (5.0, 2.0)):
        expected = log_loss(target, logits, foreground)
        found = float(losses.balanced_cross_entropy(target, logits, foreground))
        assert found == pytest.approx(expected, rel=1e-5)


def test_the_cross_entropy_of_even_odds_is_the_logarithm_of_two_times_the_weights():
    target = np.array([1, -1], np.float32).reshape(1, 1, 1, 2, 1)
    found = float(losses.balanced_cross_entropy(target, np.zeros_like(target), (3.0,)))
    assert found == pytest.approx(np.log(2) * (3 + 1) / 2)


def test_the_cross_entropy_is_least_where_the_probability_is_the_weighted_share_of_objects():
    target = np.full((1, 1, 1, 10, 1), -1, np.float32)
    target[..., :2, :] = 1
    logits = np.linspace(-3, 3, 601)
    for weight in (1.0, 4.0):
        costs = [
            float(losses.balanced_cross_entropy(target, np.full_like(target, logit), (weight,))) for logit in logits
        ]
        best = 1 / (1 + np.exp(-2 * logits[np.argmin(costs)]))
        assert best == pytest.approx(2 * weight / (2 * weight + 8), abs=0.01)


@pytest.mark.parametrize("logit", [-100.0, -20.0, 20.0, 100.0])
def test_the_gradient_of_the_cross_entropy_does_not_vanish_for_saturated_wrong_logits(logit):
    target = np.full((1, 2, 2, 2, 1), -np.sign(logit), np.float32)
    logits = np.full_like(target, logit)
    assert np.isfinite(float(losses.balanced_cross_entropy(target, logits, (3.0,))))
    found = gradient(lambda x: losses.balanced_cross_entropy(target, x, (3.0,)), logits)
    # d softplus(2 logit) / d logit is 2 where it is wrong altogether, times the weight on objects.
    expected = 2 / 8 if logit > 0 else -2 * 3 / 8
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    # tanh itself has no slope there, which is why the loss takes logits.
    assert np.abs(gradient(tf.tanh, logits)).max() < 1e-6


@pytest.mark.parametrize("logit", [20.0, 100.0])
def test_the_cross_entropy_of_saturated_right_logits_is_nought(logit):
    target = a_mask(13)
    assert float(losses.balanced_cross_entropy(target, logit * target, (3.0, 3.0))) < 1e-8


# --- Dice


def test_the_dice_loss_equals_its_formula_worked_out_by_hand():
    # t = (1, 1, 0, 0), p = (1, 0.5, 0.5, 0): 1 - (2 * 1.5 + 1) / (2 + 2 + 1).
    target = np.array([1, 1, -1, -1], np.float32).reshape(1, 1, 1, 4, 1)
    output = np.array([1, 0, 0, -1], np.float32).reshape(1, 1, 1, 4, 1)
    assert float(losses.soft_dice_loss(target, output)) == pytest.approx(1 - 4 / 5)
    assert float(losses.soft_dice_loss(target, output, smooth=0.0)) == pytest.approx(1 - 3 / 4)


def test_the_dice_loss_is_the_mean_over_samples_and_classes_of_what_numpy_finds():
    target, output = a_mask(14), values(15)
    t, p = (target.astype(float) + 1) / 2, (output.astype(float) + 1) / 2
    axes = (1, 2, 3)
    each = 1 - (2 * (t * p).sum(axes) + 1) / (t.sum(axes) + p.sum(axes) + 1)
    assert float(losses.soft_dice_loss(target, output)) == pytest.approx(each.mean(), rel=1e-5)


def test_the_dice_loss_is_nought_for_the_target_itself_even_an_empty_one_and_near_one_for_its_opposite():
    target = a_mask(16)
    for right in (target, -np.ones_like(target), np.ones_like(target)):
        assert float(losses.soft_dice_loss(right, right)) == pytest.approx(0, abs=1e-6)
    assert float(losses.soft_dice_loss(target, -target)) > 0.98
    for seed in range(3):
        assert float(losses.soft_dice_loss(target, np.clip(target + 0.2 * values(seed), -1, 1))) > 0.01


# --- sums of them


def test_the_loss_of_a_segmentation_and_of_a_pair_worked_out_by_hand():
    # Even odds everywhere: cross-entropy (1 * 0.5 * 3 + 0.5) ln 2, Dice 1 - (2 * 2 + 1) / (4 + 4 + 1), on 8 voxels.
    mask, image = np.ones((1, 2, 2, 2, 1), np.float32), np.zeros((1, 2, 2, 2, 1), np.float32)
    mask[:, 0] = -1
    even, weights = np.zeros_like(mask), [3.0]
    of_mask = 2 * np.log(2) + 1 - 5 / 9
    assert float(losses.segmentation_loss(mask, even, even, weights)) == pytest.approx(of_mask, rel=1e-5)
    found = losses.paired_loss(mask, even, even, image, image + 0.25, weights)
    assert float(found) == pytest.approx(of_mask + 0.25, rel=1e-5)


# --- all of them


def every_loss(target):
    """Each loss as a function of the output (or scores, or logits) alone."""
    foreground = tf.constant([5.0, 2.0])
    return {
        "generator": losses.least_squares_generator_loss,
        "critic": lambda x: losses.least_squares_critic_loss(target, x),
        "l1": lambda x: losses.weighted_l1(target, x, WEIGHTS),
        "balanced l1": lambda x: losses.balanced_l1(target, x, WEIGHTS, foreground),
        "cross-entropy": lambda x: losses.balanced_cross_entropy(target, x, foreground),
        "dice": lambda x: losses.soft_dice_loss(target, x),
        "segmentation": lambda x: losses.segmentation_loss(target, x, x, foreground),
        "pair": lambda x: losses.paired_loss(target, x, x, target, x, foreground),
    }


def test_every_loss_of_a_batch_and_its_gradient_are_the_means_of_those_of_its_samples():
    # Of very different foregrounds, which a normalisation over the whole batch would mix.
    target = np.concatenate([a_mask(19, share)[:1] for share in (0.02, 0.6)])
    output = values(20, -0.9, 0.9)
    for name, loss in every_loss(target).items():
        of_samples = [every_loss(target[i : i + 1])[name] for i in range(2)]
        mean = np.mean([float(of_samples[i](output[i : i + 1])) for i in range(2)])
        assert float(loss(output)) == pytest.approx(mean, rel=1e-5), name
        slopes = [gradient(of_samples[i], output[i : i + 1]) / 2 for i in range(2)]
        np.testing.assert_allclose(gradient(loss, output), np.concatenate(slopes), rtol=1e-4, atol=1e-8, err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_loss_is_a_finite_scalar_of_the_type_of_its_input_with_a_gradient_everywhere(dtype):
    target, output = tf.cast(a_mask(17), dtype), tf.cast(values(18, -0.9, 0.9), dtype)
    for name, loss in every_loss(target).items():
        value, slope = loss(output), gradient(loss, output)
        assert value.shape == () and value.dtype == dtype, name
        assert np.isfinite(float(value)) and float(value) > 0, name
        assert np.all(np.isfinite(slope.astype(float))) and np.any(slope.astype(float) != 0), name
