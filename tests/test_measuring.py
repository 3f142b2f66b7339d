from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from tfcyclegan3d.synthesis.measuring import measure_objects


def draw(shape, n, semi_axes, *, voxel=(1.0, 1.0, 1.0), whole=True, in_plane=False, noise=0.1, blur=1.2, seed=0):
    """Ellipsoids that do not overlap, blurred, on an uneven background with Gaussian noise; and how many there are."""
    rng = np.random.default_rng(seed)
    voxel, shape = np.asarray(voxel), np.asarray(shape)
    points = np.stack(np.indices(shape), axis=-1) * voxel
    light = np.zeros(shape, np.float32)
    reach = max(semi_axes)
    drawn = 0
    for _ in range(2000):
        if drawn == n:
            break
        room = np.minimum(reach, 0.45 * shape * voxel) if whole else np.zeros(3)
        centre = rng.uniform(room, shape * voxel - room)
        turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
        if in_plane:
            angle = rng.uniform(0, np.pi)
            turn = np.array([[0, 0, 1], [np.sin(angle), np.cos(angle), 0], [np.cos(angle), -np.sin(angle), 0]])
        inside = np.square((points - centre) @ turn / semi_axes).sum(-1) < 1
        if not inside.any() or (light[ndimage.binary_dilation(inside, iterations=2)] > 0).any():
            continue
        light[inside] = rng.uniform(0.7, 1.3)
        drawn += 1
    light = ndimage.gaussian_filter(light, blur / voxel)
    light += 0.2 + 0.1 * np.sin(np.arange(shape[2]) / 30)
    return (1000 * light + rng.normal(0, 1000 * noise, shape)).clip(0).astype(np.uint16), drawn


def diameter_of(semi_axes):
    return 2 * np.cbrt(np.prod(semi_axes))


@pytest.mark.parametrize(
    ("shape", "n", "semi_axes", "noise"),
    [
        ((40, 96, 96), 25, (7, 7, 7), 0.05),
        ((40, 96, 96), 25, (7, 7, 7), 0.25),
        ((48, 96, 96), 12, (13, 7, 7), 0.1),
        ((32, 64, 64), 40, (4, 4, 4), 0.1),
    ],
)
def test_size_and_count_are_met(shape, n, semi_axes, noise):
    image, drawn = draw(shape, n, semi_axes, noise=noise)
    found = measure_objects(image)
    assert found.diameter == pytest.approx(diameter_of(semi_axes), rel=0.15)
    assert found.count == pytest.approx(drawn, rel=0.25)
    assert found.fill_fraction == pytest.approx(drawn * diameter_of(semi_axes) ** 3 * np.pi / 6 / image.size, rel=0.4)
    assert found.confidence > 0.5
    assert found.centres.shape[1] == 3


def test_lengths_follow_the_voxel_size():
    voxel = (0.6, 0.2, 0.2)
    image, drawn = draw((24, 96, 96), 20, (1.6, 1.6, 1.6), voxel=voxel, blur=0.25)
    found = measure_objects(image, voxel)
    assert found.diameter == pytest.approx(3.2, rel=0.15)
    assert found.count == pytest.approx(drawn, rel=0.25)
    scaled = measure_objects(image, np.multiply(voxel, 5))
    assert scaled.diameter == pytest.approx(5 * found.diameter)


def test_centres_are_in_voxels_of_the_array():
    z, y, x = np.indices((50, 120, 120))
    centres = np.array([[25, 30, 30], [25, 30, 90], [25, 90, 30], [25, 90, 90]])
    image = np.zeros(z.shape, np.float32)
    for centre in centres:
        image[(z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 < 18**2] = 1
    # So large that blocks of voxels are measured.
    found = measure_objects(ndimage.gaussian_filter(image, 1.5))
    np.testing.assert_allclose(sorted(found.centres.tolist()), centres, atol=0.5)


def test_long_objects_are_long_and_lie_where_they_lie():
    image, _ = draw((32, 112, 112), 14, (13, 6, 6), in_plane=True)
    flat = measure_objects(image)
    assert flat.elongation == pytest.approx(13 / 6, rel=0.2)
    assert flat.in_plane
    (low, high), (_, middle), _ = flat.semi_axes
    assert low < 13 < high + 1.5
    assert middle < 9
    image, _ = draw((56, 72, 72), 14, (13, 6, 6), in_plane=False)
    assert not measure_objects(image).in_plane


def test_objects_cut_by_the_border_count():
    image, drawn = draw((30, 110, 110), 30, (8, 8, 8), whole=False)
    found = measure_objects(image)
    assert found.n_measured < drawn
    assert found.diameter == pytest.approx(16, rel=0.15)
    assert found.count == pytest.approx(drawn, rel=0.25)


def test_few_objects_are_less_sure():
    many, _ = draw((40, 110, 110), 25, (7, 7, 7))
    few, _ = draw((40, 110, 110), 2, (7, 7, 7))
    found = measure_objects(few)
    assert found.confidence < 0.6 < measure_objects(many).confidence
    assert any("whole" in doubt for doubt in found.doubts)


@pytest.mark.parametrize("value", [0, 7])
def test_nothing_is_found_in_a_constant_array(value):
    assert measure_objects(np.full((20, 40, 40), value, np.uint8)) is None


@pytest.mark.parametrize("seed", range(3))
def test_noise_holds_no_objects(seed):
    rng = np.random.default_rng(seed)
    white, counted = rng.normal(100, 10, (32, 64, 64)), rng.poisson(5, (32, 64, 64))
    cloudy = ndimage.gaussian_filter(white, 1.5)
    for image in (white, counted, cloudy):
        found = measure_objects(image)
        assert found is None or found.confidence < 0.3


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 4, 5), (1, 1, 1), (60, 2, 60)])
def test_thin_and_tiny_arrays_do_no_harm(shape):
    found = measure_objects(np.random.default_rng(0).poisson(5, shape))
    assert found is None or found.confidence < 0.3


def test_masks_can_be_measured():
    z, y, x = np.indices((40, 60, 60))
    found = measure_objects((z - 20) ** 2 + (y - 30) ** 2 + (x - 30) ** 2 < 10**2)
    assert found.count == pytest.approx(1)
    assert found.diameter == pytest.approx(20, rel=0.15)
    assert found.confidence < 0.3


def test_one_bright_voxel_is_no_object():
    image = np.zeros((41, 41, 41))
    image[20, 20, 20] = 1
    found = measure_objects(image)
    assert found is None or found.confidence < 0.3


def test_the_same_array_gives_the_same_estimate_and_stays_as_it_was():
    image, _ = draw((32, 64, 64), 12, (6, 6, 6))
    before = image.copy()
    first, second = (dataclasses.asdict(measure_objects(image)) for _ in range(2))
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(first.pop("centres"), second.pop("centres"))
    np.testing.assert_array_equal(first.pop("window"), second.pop("window"))
    assert first == second
