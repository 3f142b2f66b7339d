"""A rendered stack shows its objects as a microscope would, and every strength does what its name says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from tfcyclegan3d import errors
from tfcyclegan3d.synthesis.microscope import ANY, CLEAN, HARD, Microscope, render
from tfcyclegan3d.synthesis.prior import NUCLEI, NUCLEI_AND_GOLGI
from tfcyclegan3d.synthesis.simulation import CAMERA_OFFSET, COUNTS_PER_BRIGHTNESS, simulate_stack

STRENGTHS = [field.name for field in dataclasses.fields(Microscope)]
# Nothing but the light itself: so many photons, and so little noise and background, that they do not show.
PERFECT = Microscope(
    brightness=(1, 1),
    object_spread=(0, 0),
    texture=(0, 0),
    blur=(0, 0),
    haze=(0, 0),
    bleed_through=(0, 0),
    background=(1e-12, 1e-12),
    debris=(0, 0),
    attenuation=(0, 0),
    photons=(1e10, 1e10),
    read_noise=(1e-12, 1e-12),
)


def generator(seed=0):
    return np.random.default_rng(seed)


def seen(objects, seed=0, **changes):
    """Render with a perfect microscope but for the strengths named, each a single value."""
    changed = {name: value if isinstance(value, tuple) else (value, value) for name, value in changes.items()}
    return render(objects, dataclasses.replace(PERFECT, **changed), generator(seed))


def boxes(shape=(16, 24, 24), n_channels=2):
    """One numbered box a channel, each somewhere else."""
    objects = np.zeros((*shape, n_channels), np.uint16)
    objects[4:12, 3:10, 3:10, 0] = 1
    if n_channels > 1:
        objects[4:12, 14:21, 14:21, 1] = 1
    return objects


# --- the chain as a whole


def test_a_perfect_microscope_shows_the_objects_themselves():
    objects = boxes()
    np.testing.assert_allclose(seen(objects), objects > 0, atol=1e-3)


@pytest.mark.parametrize("microscope", [CLEAN, HARD, ANY, PERFECT], ids=["clean", "hard", "any", "perfect"])
def test_the_same_seed_renders_the_same_bits_and_another_seed_others(microscope):
    objects = boxes()
    before = objects.copy()
    first, again, other = (render(objects, microscope, generator(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    if microscope is not PERFECT:
        assert not np.array_equal(first, other)
    np.testing.assert_array_equal(objects, before)


@pytest.mark.parametrize("microscope", [CLEAN, HARD, ANY], ids=["clean", "hard", "any"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 16, 16), (5, 7, 3), (12, 16, 20)])
def test_what_is_rendered_is_finite_not_negative_and_of_the_shape_of_the_objects(microscope, shape):
    for seed in range(5):
        objects = np.random.default_rng(seed).integers(0, 3, (*shape, 2)).astype(np.uint16)
        light = render(objects, microscope, generator(seed))
        assert light.shape == objects.shape and light.dtype == np.float32
        assert np.isfinite(light).all() and light.min() >= 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int32, np.int64])
def test_object_numbers_of_any_integer_type_render_alike(dtype):
    objects = boxes()
    np.testing.assert_array_equal(
        render(objects.astype(dtype), CLEAN, generator()), render(objects, CLEAN, generator())
    )


def test_a_volume_without_objects_shows_background_alone():
    np.testing.assert_allclose(seen(np.zeros((4, 6, 8, 2), np.uint8)), 0, atol=1e-6)
    dark = seen(np.zeros((4, 6, 8, 2), np.uint8), background=0.3, unevenness=0)
    np.testing.assert_allclose(dark, 0.3, atol=1e-3)


@pytest.mark.parametrize(("microscope", "ratio"), [(CLEAN, 1.7), (HARD, 1.25)], ids=["clean", "hard"])
def test_objects_are_brighter_than_their_background_in_every_channel(microscope, ratio):
    objects = boxes()
    for seed in range(5):
        light = render(objects, microscope, generator(seed))
        for k in range(2):
            inside = objects[..., k] > 0
            # Beside the objects of both channels, where neither blur nor haze reaches.
            far = ~ndimage.binary_dilation((objects > 0).any(-1), iterations=4)
            assert light[inside, k].mean() > ratio * light[far, k].mean()


# --- one strength at a time


def test_an_object_is_as_bright_as_drawn_from_the_brightness():
    inside = boxes(n_channels=1) > 0
    found = [seen(boxes(n_channels=1), seed, brightness=(0.5, 0.8))[inside] for seed in range(20)]
    assert all(np.ptp(values) < 1e-3 for values in found)
    levels = np.array([values[0] for values in found])
    assert levels.min() >= 0.5 - 1e-3 and levels.max() <= 0.8 + 1e-3 and np.ptp(levels) > 0.15


def test_objects_of_one_channel_differ_by_the_spread_asked_for():
    numbers = np.arange(1, 4001, dtype=np.uint16).reshape(10, 20, 20, 1)
    logarithms = np.log(seen(numbers, object_spread=0.4))
    assert logarithms.std() == pytest.approx(0.4, rel=0.05)
    assert logarithms.mean() == pytest.approx(0, abs=0.03)


def test_texture_varies_the_labelling_inside_an_object_by_the_share_asked_for():
    solid = np.ones((24, 24, 24, 1), np.uint8)
    light = seen(solid, texture=0.2, texture_scale=2)
    assert light.std() / light.mean() == pytest.approx(0.2, rel=0.1)
    assert light.mean() == pytest.approx(1, abs=0.02)
    # Neighbours agree within the correlation length and not far beyond it.
    grain = (light - light.mean())[..., 0]
    near = np.mean(grain[:, :, 1:] * grain[:, :, :-1]) / grain.var()
    far = np.mean(grain[:, :, 8:] * grain[:, :, :-8]) / grain.var()
    assert near > 0.5 and abs(far) < 0.15


@pytest.mark.parametrize(("blur", "ratio"), [(1.0, 1.0), (1.5, 2.0)])
def test_blur_spreads_a_point_by_its_deviation_more_along_z(blur, ratio):
    point = np.zeros((31, 31, 31, 1), np.uint8)
    point[15, 15, 15] = 1
    light = seen(point, blur=blur, blur_z_ratio=ratio)[..., 0].astype(float)
    assert light.sum() == pytest.approx(1, rel=1e-3)
    for axis, expected in enumerate((blur * ratio, blur, blur)):
        profile = light.sum(axis=tuple(other for other in range(3) if other != axis))
        deviation = np.sqrt((profile * (np.arange(31) - 15) ** 2).sum())
        # The kernel ends at three deviations, which takes off about one and a half per cent.
        assert deviation == pytest.approx(expected, rel=0.04)


def test_haze_takes_its_share_of_the_light_and_spreads_it_wide():
    objects = np.zeros((24, 48, 48, 1), np.uint8)
    objects[8:16, 18:30, 18:30] = 1
    sharp, hazy = seen(objects)[..., 0], seen(objects, haze=0.3, haze_scale=6)[..., 0]
    ring = ndimage.binary_dilation(objects[..., 0] > 0, iterations=4) & (objects[..., 0] == 0)
    assert sharp[ring].max() < 1e-3 < 0.02 < hazy[ring].mean()
    middle = hazy[12, 24, 24]
    assert 0.7 < middle < 1
    assert hazy.sum() == pytest.approx(sharp.sum(), rel=0.1)


def test_bleed_through_shows_its_share_of_each_other_channel():
    objects = boxes()
    light = seen(objects, bleed_through=0.1)
    own, other = objects[..., 0] > 0, objects[..., 1] > 0
    np.testing.assert_allclose(light[own], np.broadcast_to([1, 0.1], (own.sum(), 2)), atol=1e-3)
    np.testing.assert_allclose(light[other], np.broadcast_to([0.1, 1], (other.sum(), 2)), atol=1e-3)
    assert light[~own & ~other].max() < 1e-3


def test_one_channel_has_nothing_to_bleed_from():
    objects = boxes(n_channels=1)
    np.testing.assert_allclose(seen(objects, bleed_through=0.2), objects > 0, atol=1e-3)


def test_attenuation_dims_plane_after_plane_down_to_the_share_left():
    light = seen(np.ones((11, 8, 8, 2), np.uint8), attenuation=0.4)
    np.testing.assert_allclose(
        light, np.broadcast_to(np.linspace(1, 0.6, 11)[:, None, None, None], light.shape), atol=1e-3
    )


def test_the_background_has_its_level_and_changes_slowly():
    light = seen(np.zeros((12, 48, 48, 2), np.uint8), background=0.2, unevenness=0.3)
    for k in range(2):
        channel = light[..., k]
        assert channel.mean() == pytest.approx(0.2, rel=0.05)
        assert channel.std() == pytest.approx(0.06, rel=0.1)
        assert np.abs(np.diff(channel, axis=1)).max() < 0.3 * np.ptp(channel)
    assert abs(np.corrcoef(light[..., 0].ravel(), light[..., 1].ravel())[0, 1]) < 0.5


def test_debris_is_as_many_specks_as_asked_for_of_the_brightness_asked_for():
    shape = (20, 50, 50, 1)  # 50000 voxels: 400 a million are 20.
    counts, peaks = [], []
    for seed in range(10):
        light = seen(np.zeros(shape, np.uint8), seed, debris=400, debris_brightness=(0.5, 1.0), blur=0.8)[..., 0]
        tops = (light == ndimage.maximum_filter(light, 5)) & (light > 0.1)
        counts.append(tops.sum())
        peaks.extend(light[tops])
    assert np.mean(counts) == pytest.approx(20, rel=0.25)
    # Where two fall together, or one is cut by the border, a peak may be higher.
    assert 0.5 * 0.9 < np.median(peaks) < 1.0 * 1.1


def test_the_noise_of_photons_is_the_root_of_their_number():
    solid = np.ones((20, 20, 20, 1), np.uint8)
    relative = []
    for photons in (5, 50, 500):
        light = seen(solid, photons=photons)
        assert light.mean() == pytest.approx(1, rel=0.05)
        relative.append(light.std() / light.mean())
        assert relative[-1] == pytest.approx(1 / np.sqrt(photons), rel=0.05)
    assert relative == sorted(relative, reverse=True)


def test_read_noise_has_its_deviation_and_is_not_clipped_at_nought():
    light = seen(np.zeros((20, 20, 20, 1), np.uint8), read_noise=0.1)
    assert light.std() == pytest.approx(0.1, rel=0.05)
    assert (light == 0).mean() < 1e-3


# --- intervals


def test_strengths_are_drawn_within_their_intervals_and_over_all_of_them():
    drawn = [ANY.draw(generator(seed)) for seed in range(200)]
    for name in STRENGTHS:
        low, high = getattr(ANY, name)
        values = np.array([one[name] for one in drawn])
        assert values.min() >= low - 1e-9 and values.max() <= high + 1e-9
        assert np.ptp(values) > 0.9 * (high - low)
    # Photons are drawn by their logarithm: half of them lie below the geometric mean.
    middle = np.sqrt(np.prod(ANY.photons))
    assert np.mean([one["photons"] < middle for one in drawn]) == pytest.approx(0.5, abs=0.1)


def test_an_interval_of_one_value_is_drawn_as_that_value():
    drawn = CLEAN.draw(generator())
    for name in STRENGTHS:
        low, high = getattr(CLEAN, name)
        if low == high:
            assert drawn[name] == pytest.approx(low)


@pytest.mark.parametrize("name", STRENGTHS)
@pytest.mark.parametrize("interval", [(0.5, 0.4), (-0.1, 0.4), (float("nan"), 1.0), (0.1, float("nan"))])
def test_empty_negative_and_undefined_intervals_are_refused_by_name(name, interval):
    with pytest.raises(errors.OptionError) as caught:
        Microscope(**{name: interval})
    assert f"microscope {name}: received {interval!r}" in str(caught.value)


@pytest.mark.parametrize("name", STRENGTHS)
def test_an_interval_without_end_is_refused_by_name(name):
    with pytest.raises(errors.OptionError, match=f"microscope {name}"):
        Microscope(**{name: (0.5, float("inf"))})


@pytest.mark.parametrize("name", ["photons", "texture_scale"])
def test_no_photon_at_all_and_a_grain_of_no_size_are_refused(name):
    with pytest.raises(errors.OptionError, match=f"microscope {name}"):
        Microscope(**{name: (0.0, 1.0)})


@pytest.mark.parametrize("name", ["haze", "bleed_through", "attenuation"])
def test_a_share_of_the_light_above_all_of_it_is_refused(name):
    assert getattr(Microscope(**{name: (0.0, 1.0)}), name) == (0.0, 1.0)
    with pytest.raises(errors.OptionError, match=f"microscope {name}"):
        Microscope(**{name: (0.0, 1.1)})


# --- simulated stacks

SHAPE = (32, 64, 64)
FEW = dataclasses.replace(NUCLEI_AND_GOLGI, count=(2, 3))


@pytest.fixture(scope="module", params=[CLEAN, HARD], ids=["clean", "hard"])
def simulated(request):
    return simulate_stack(SHAPE, FEW, request.param, seed=5)


def test_a_simulated_stack_is_uint16_with_a_channel_a_class_and_its_truth_on_the_same_grid(simulated):
    assert simulated.image.array.dtype == np.uint16
    assert simulated.image.array.shape == simulated.truth.array.shape == simulated.truth.objects.shape == (*SHAPE, 2)
    np.testing.assert_array_equal(simulated.truth.array, simulated.truth.objects > 0)
    assert simulated.image.array.max() < np.iinfo(np.uint16).max
    assert simulated.image.array.min() >= CAMERA_OFFSET


def test_a_simulated_stack_is_brighter_where_its_truth_says_than_anywhere_the_truth_is_shifted_to(simulated):
    for k in range(2):
        image = ndimage.gaussian_filter(simulated.image.array[..., k].astype(float), 1)
        inside = simulated.truth.array[..., k] > 0
        assert 0 < inside.mean() < 0.5

        def contrast(mask, image=image):
            return image[mask].mean() - image[~mask].mean()

        here = contrast(inside)
        assert here > 0.2 * COUNTS_PER_BRIGHTNESS
        for axis in range(3):
            for step in (-3, 3):
                assert contrast(np.roll(inside, step, axis)) < here
        # Nor is it the other channel's truth, where the two do not overlap.
        other = simulated.truth.array[..., 1 - k] > 0
        assert image[inside & ~other].mean() > image[other & ~inside].mean()


def test_the_same_seed_simulates_the_same_stack_and_another_seed_another():
    one, again, other = (simulate_stack((8, 32, 32), FEW, seed=seed) for seed in ((1, 2), (1, 2), (1, 3)))
    np.testing.assert_array_equal(one.image.array, again.image.array)
    np.testing.assert_array_equal(one.truth.objects, again.truth.objects)
    assert not np.array_equal(one.image.array, other.image.array)
    assert not np.array_equal(one.truth.objects, other.truth.objects)


def test_how_a_stack_is_seen_does_not_change_what_is_in_it():
    clean, hard = (simulate_stack((8, 32, 32), FEW, microscope, seed=1) for microscope in (CLEAN, HARD))
    np.testing.assert_array_equal(clean.truth.objects, hard.truth.objects)
    assert not np.array_equal(clean.image.array, hard.image.array)


def test_a_hard_stack_is_dimmer_against_its_background_than_a_clean_one():
    def contrast(microscope):
        stack = simulate_stack(SHAPE, FEW, microscope, seed=5)
        inside = stack.truth.array[..., 1] > 0
        values = stack.image.array[..., 1].astype(float)
        return (values[inside].mean() - values[~inside].mean()) / values[~inside].std()

    assert contrast(HARD) < contrast(CLEAN)


def test_a_prior_of_one_class_gives_one_channel():
    stack = simulate_stack((8, 32, 32), dataclasses.replace(NUCLEI, count=(1, 1)), seed=0)
    assert stack.image.array.shape == (8, 32, 32, 1)


@pytest.mark.parametrize("shape", [(0, 8, 8), (8, 8), (8, 8, -1)])
def test_a_stack_of_no_shape_is_refused(shape):
    with pytest.raises(errors.OptionError, match="shape"):
        simulate_stack(shape)
