"""A rendered stack shows its objects as a microscope would, and every strength does what its name says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import ndimage, stats

from tfcyclegan3d import errors
from tfcyclegan3d.synthesis import fields
from tfcyclegan3d.synthesis.cut import Cut
from tfcyclegan3d.synthesis.microscope import ANY, CLEAN, HARD, Microscope
from tfcyclegan3d.synthesis.microscope_file import MEANINGS, load_microscope, save_microscope
from tfcyclegan3d.synthesis.prior import NUCLEI_AND_GOLGI
from tfcyclegan3d.synthesis.rendering import Acquisition, render
from tfcyclegan3d.synthesis.simulation import CAMERAS, Camera, simulate_stack

# On a grid of larger voxels, the paper's objects are smaller.
IN_UM = dataclasses.replace(NUCLEI_AND_GOLGI, unit="um")
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


def test_blur_growth_widens_a_point_evenly_from_the_first_plane_to_the_last():
    points = np.zeros((61, 31, 31, 1), np.uint8)
    planes = (10, 30, 50)
    for plane in planes:
        points[plane, 15, 15] = 1
    light = seen(points, blur=1.0, blur_z_ratio=1.5, blur_growth=1.0)[..., 0].astype(float)
    peaks = []
    for plane in planes:
        one = light[plane - 10 : plane + 11]
        assert one.sum() == pytest.approx(1, rel=0.02)
        expected = 1 + plane / 60
        deviation = np.sqrt((one.sum(axis=(0, 1)) * (np.arange(31) - 15) ** 2).sum() / one.sum())
        assert deviation == pytest.approx(expected, rel=0.05)
        peaks.append(one.max())
    assert peaks[0] > 1.25 * peaks[1] > 1.25**2 * peaks[2]


def test_without_growth_the_blur_is_the_same_at_every_depth():
    points = np.zeros((41, 15, 15, 1), np.uint8)
    points[10, 7, 7] = points[30, 7, 7] = 1
    light = seen(points, blur=1.0)[..., 0]
    np.testing.assert_allclose(light[4:17], light[24:37], atol=1e-4)


def ball(side=25, radius=10):
    """One numbered ball (ZYXC) and the position of every voxel from its centre."""
    offsets = np.stack(np.indices((side,) * 3) - side // 2).astype(float)
    return ((offsets**2).sum(0) <= radius**2).astype(np.uint8)[..., None], offsets


def test_shading_makes_one_side_of_an_object_brighter_by_its_share_and_the_other_dimmer_by_it():
    solid, offsets = ball()
    inside = solid[..., 0] > 0
    for seed in range(4):
        light = seen(solid, seed, shading=0.4)[..., 0]
        gradient = np.array([(light[inside] * axis[inside]).mean() for axis in offsets])
        along = np.tensordot(gradient / np.linalg.norm(gradient), offsets, 1)[inside] / 10
        np.testing.assert_allclose(light[inside], 1 + 0.4 * along, atol=0.03)
        assert light[inside].max() > 1.35 and light[inside].min() < 0.65
        assert light[~inside].max() < 1e-3


def test_every_object_is_shaded_in_a_direction_of_its_own_and_keeps_its_light():
    solid, offsets = ball()
    objects = np.concatenate([solid * number for number in range(1, 9)], axis=0)
    light = seen(objects, shading=0.5)[..., 0].reshape(8, 25, 25, 25)
    inside = solid[..., 0] > 0
    directions = np.array([[(one[inside] * axis[inside]).mean() for axis in offsets] for one in light])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    assert np.abs(directions @ directions.T - np.eye(8)).max() < 0.999
    assert np.linalg.norm(directions.mean(0)) < 0.7
    np.testing.assert_allclose([one[inside].mean() for one in light], 1, atol=1e-3)


def test_a_rim_takes_its_share_of_the_light_from_the_inside_of_an_object_and_none_from_its_envelope():
    solid, offsets = ball()
    distance = np.sqrt((offsets**2).sum(0))
    light = seen(solid, rim=0.7)[..., 0]
    np.testing.assert_allclose(light[distance < 7], 0.3, atol=1e-3)
    np.testing.assert_allclose(light[(distance > 9) & (distance <= 10)], 1, atol=1e-3)
    # Blurred, the middle is still the darker part.
    blurred = seen(solid, rim=0.7, blur=1.0)[..., 0]
    assert blurred[distance < 5].mean() < 0.7 * blurred[(distance > 8) & (distance < 9.5)].mean()


def test_objects_that_touch_have_a_rim_each():
    halves = np.ones((12, 12, 24, 1), np.uint8)
    halves[:, :, 12:] = 2
    light = seen(halves, rim=1.0)[6, 6, :, 0]
    np.testing.assert_allclose(light[10:14], 1, atol=1e-3)
    np.testing.assert_allclose(light[:10], 0, atol=1e-3)


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


def test_photons_are_spread_as_the_poisson_distribution_says_whether_there_are_few_or_many():
    for photons in (2, 5, 30):
        light = seen(np.ones((40, 40, 40, 1), np.uint8), photons=photons)
        counts = np.bincount(np.rint(light * photons).astype(int).ravel(), minlength=100)[:100]
        oracle = stats.poisson.pmf(np.arange(100), photons)
        assert np.abs(counts / counts.sum() - oracle).sum() / 2 < 0.02


# --- smooth fields


@pytest.mark.parametrize("shape", [(9, 20, 31), (4, 6, 8), (1, 5, 12), (8, 12, 14)])
def test_interpolation_is_that_of_the_grids_cells_as_scipy_has_it(shape):
    coarse = generator().random((4, 6, 7) if shape[0] > 1 else (1, 3, 7), dtype=np.float32)
    factors = [new / old for new, old in zip(shape, coarse.shape, strict=True)]
    oracle = ndimage.zoom(coarse, factors, order=1, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(fields.interpolated(coarse, shape), oracle, atol=1e-5)
    places = [np.arange(side)[side // 3 :: 2] for side in shape]
    np.testing.assert_allclose(fields.interpolated(coarse, shape, places), oracle[np.ix_(*places)], atol=1e-5)


@pytest.mark.parametrize("shape", [(40, 61, 50), (7, 30, 33)])
def test_a_wide_blur_is_close_to_the_gaussian_it_stands_for(shape):
    light = np.zeros(shape, np.float32)
    light[shape[0] // 3 :, 20:, 10:25] = 1
    oracle = ndimage.gaussian_filter(light, 5)
    assert np.abs(fields.wide_blur(light, 5.0) - oracle).max() < 0.08


# --- parts of a volume


def noiseless(**changes):
    return dataclasses.replace(ANY, texture=(0, 0), photons=(1e10, 1e10), read_noise=(1e-12, 1e-12), **changes)


def test_a_window_shows_what_the_whole_volume_shows_there():
    objects = simulate_stack((24, 64, 64), IN_UM, seed=1, voxel_size_um=(3.0,) * 3).truth.objects
    window = (slice(6, 18), slice(20, 44), slice(0, 30))
    for seed in range(4):
        acquisition = Acquisition.drawn(objects, noiseless(haze=(0, 0), shading=(0, 0)), generator(seed))
        whole = acquisition.image(objects, generator(seed))
        part = acquisition.image(objects, generator(seed), cut=Cut(objects.shape[:3], window))
        assert part.shape == (12, 24, 30, 2)
        # Of the light of a point, 5 % falls beyond two deviations along one axis.
        assert np.abs(part - whole[window]).max() < 0.05 * np.ptp(whole)
        assert np.abs(part - whole[window]).mean() < 0.003 * np.ptp(whole)


def test_every_second_voxel_shows_the_same_distribution_of_intensities_as_all():
    objects = simulate_stack((32, 96, 96), IN_UM, seed=2, voxel_size_um=(2.5,) * 3).truth.objects
    brightest = []
    for seed in range(4):
        acquisition = Acquisition.drawn(objects, ANY, generator(seed))
        whole = acquisition.image(objects, generator(seed))
        coarse = acquisition.image(objects, generator(seed), cut=Cut.whole(objects.shape[:3], 2))
        assert coarse.shape == (16, 48, 48, 2)
        for k in range(2):
            found, oracle = (np.percentile(image[..., k], (1, 25, 50, 75, 95, 99.8)) for image in (coarse, whole))
            np.testing.assert_allclose(found[:-1], oracle[:-1], atol=0.05 * (oracle[-1] - oracle[0]))
            brightest.append(found[-1] / oracle[-1])
    # Of so few voxels that a single rendering says little.
    assert np.mean(brightest) == pytest.approx(1, abs=0.08)


# --- intervals


def test_strengths_are_drawn_within_their_intervals_and_over_all_of_them():
    drawn = [ANY.draw(generator(seed)) for seed in range(200)]
    for name in STRENGTHS:
        low, high = getattr(ANY, name)
        values = np.array([one[name] for one in drawn])
        assert values.min() >= low - 1e-9 and values.max() <= high + 1e-9
        assert np.ptp(values) >= 0.9 * (high - low)
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


@pytest.mark.parametrize("name", ["shading", "rim", "haze", "bleed_through", "attenuation"])
def test_a_share_of_the_light_above_all_of_it_is_refused(name):
    assert getattr(Microscope(**{name: (0.0, 1.0)}), name) == (0.0, 1.0)
    with pytest.raises(errors.OptionError, match=f"microscope {name}"):
        Microscope(**{name: (0.0, 1.1)})


# --- simulated stacks

SHAPE = (32, 64, 64)
GOLGI, PAIRED = NUCLEI_AND_GOLGI.objects
FEW = dataclasses.replace(NUCLEI_AND_GOLGI, objects=(dataclasses.replace(GOLGI, count=(2, 3)), PAIRED))


@pytest.fixture(scope="module", params=[CLEAN, HARD], ids=["clean", "hard"])
def simulated(request):
    return simulate_stack(SHAPE, FEW, request.param, seed=5)


def test_a_simulated_stack_is_uint16_with_a_channel_a_class_and_its_truth_on_the_same_grid(simulated):
    assert simulated.image.array.dtype == np.uint16
    assert simulated.image.array.shape == simulated.truth.array.shape == simulated.truth.objects.shape == (*SHAPE, 2)
    np.testing.assert_array_equal(simulated.truth.array, simulated.truth.objects > 0)
    assert simulated.image.array.max() < np.iinfo(np.uint16).max
    assert simulated.image.array.min() >= CAMERAS[16].offset


def test_a_simulated_stack_is_brighter_where_its_truth_says_than_anywhere_the_truth_is_shifted_to(simulated):
    for k in range(2):
        image = ndimage.gaussian_filter(simulated.image.array[..., k].astype(float), 1)
        inside = simulated.truth.array[..., k] > 0
        assert 0 < inside.mean() < 0.5

        def contrast(mask, image=image):
            return image[mask].mean() - image[~mask].mean()

        here = contrast(inside)
        assert here > 0.2 * CAMERAS[16].gain
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
    stack = simulate_stack((8, 32, 32), FEW.select(("nuclei",)), seed=0)
    assert stack.image.array.shape == (8, 32, 32, 1)


@pytest.mark.parametrize("shape", [(0, 8, 8), (8, 8), (8, 8, -1)])
def test_a_stack_of_no_shape_is_refused(shape):
    with pytest.raises(errors.OptionError, match="shape"):
        simulate_stack(shape)


@pytest.mark.parametrize(("bits", "largest"), [(8, 255), (16, 65535)])
def test_a_camera_stores_offset_and_gain_and_saturates_at_its_largest_count(bits, largest):
    camera = Camera(bits, offset=10, gain=50)
    counts = camera.counts(np.array([0.0, 0.5, 1.0, 4.0, 1e6], np.float32))
    assert counts.dtype == np.dtype(f"uint{bits}")
    np.testing.assert_array_equal(counts, [10, 35, 60, 210, largest])


@pytest.mark.parametrize(
    ("name", "value"),
    [("bits", 12), ("offset", -1.0), ("offset", float("nan")), ("gain", 0.0), ("gain", float("inf"))],
)
def test_a_camera_that_cannot_be_is_refused_by_name(name, value):
    with pytest.raises(errors.OptionError, match=f"camera {name}: received"):
        Camera(**{name: value})


def test_a_stack_of_8_bits_is_the_same_stack_on_a_coarser_scale_and_bright_objects_saturate():
    fine, coarse = (simulate_stack((16, 48, 48), FEW, seed=3, camera=CAMERAS[bits]) for bits in (16, 8))
    assert coarse.image.array.dtype == np.uint8
    np.testing.assert_array_equal(fine.truth.objects, coarse.truth.objects)
    light = (fine.image.array - CAMERAS[16].offset) / CAMERAS[16].gain
    np.testing.assert_allclose(coarse.image.array, CAMERAS[8].counts(light), atol=1)
    dazzled = simulate_stack((16, 48, 48), FEW, seed=3, camera=Camera(8, offset=8, gain=800))
    assert (dazzled.image.array == 255).mean() > 0.02


def test_a_stack_and_its_truth_bear_the_voxel_size_given():
    stack = simulate_stack((8, 24, 24), FEW, voxel_size_um=(0.5, 0.25, 0.125))
    assert stack.image.voxel_size_um == stack.truth.voxel_size_um == (0.5, 0.25, 0.125)


# --- microscopes as files


@pytest.mark.parametrize("microscope", [CLEAN, HARD, ANY, PERFECT], ids=["clean", "hard", "any", "perfect"])
def test_a_microscope_comes_back_from_its_file_and_every_strength_has_its_meaning_there(microscope, tmp_path):
    save_microscope(microscope, tmp_path / "microscope.yaml")
    assert load_microscope(tmp_path / "microscope.yaml") == microscope
    lines = (tmp_path / "microscope.yaml").read_text().splitlines()
    assert list(MEANINGS) == STRENGTHS
    for name, meaning in MEANINGS.items():
        assert [line for line in lines if line.startswith(f"{name}: [") and line.endswith(f"  # {meaning}")]


def test_a_single_number_is_always_that_and_what_is_left_out_is_as_on_a_good_day(tmp_path):
    (tmp_path / "mine.yaml").write_text("blur: 2\nphotons: [1e2, 200]\n")
    oracle = dataclasses.replace(CLEAN, blur=(2.0, 2.0), photons=(100.0, 200.0))
    assert load_microscope(tmp_path / "mine.yaml") == oracle


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("blurr: [1, 2]", "did you mean microscope.blur?"),
        ("blur: [2, 1]", "microscope blur: received (2.0, 1.0)"),
        ("blur: wide", "microscope.blur"),
        ("blur: [1, 2, 3]", "microscope.blur"),
        ("haze: [0, 1.5]", "microscope haze"),
        ("blur: true", "microscope.blur"),
        ("", "holds no strengths"),
        ("- 3", "holds no strengths"),
        ("blur: [1, 2", "cannot be read"),
    ],
)
def test_a_file_that_describes_no_microscope_is_refused_in_one_line_with_its_name(tmp_path, text, said):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(errors.UserError) as caught:
        load_microscope(tmp_path / "mine.yaml")
    assert "mine.yaml: " in str(caught.value) and said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_microscope_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(errors.FileMissingError, match=r"mine\.yaml"):
        load_microscope(tmp_path / "mine.yaml")
