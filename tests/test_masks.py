import dataclasses
import itertools
import json
import time

import numpy as np
import pytest
from scipy import ndimage

from tfcyclegan3d import errors
from tfcyclegan3d.synthesis import deform, shapes
from tfcyclegan3d.synthesis.groups import draw_group
from tfcyclegan3d.synthesis.masks import synthesize_masks
from tfcyclegan3d.synthesis.prior import (
    NUCLEI,
    NUCLEI_AND_GOLGI,
    ObjectPrior,
    Prior,
    load_prior,
    prior_for,
    save_prior,
)

SHAPE = (61, 400, 420)
NUCLEUS = ObjectPrior("nuclei", "ellipsoid", ((17, 30), (8, 13), (8, 13)))


@pytest.fixture(scope="module")
def papers_masks():
    return [synthesize_masks(SHAPE, seed=seed, voxel_size_um=(1.0, 0.5, 0.5)) for seed in range(3)]


def principal_axis(mask, voxel_aspect=(1, 1, 1)):
    points = np.argwhere(mask) * voxel_aspect
    return np.linalg.eigh(np.cov(points.T))[1][:, -1]


# Shapes


@pytest.mark.parametrize("radius", [4.3, 6.2, 8.5])
@pytest.mark.parametrize("centre", [(0, 0, 0), (4.3, -7.5, 0.9)])
def test_a_sphere_has_the_volume_and_the_centre_asked_for(radius, centre):
    inside, corner = shapes.sphere(radius, centre)
    assert inside.sum() == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.06)
    assert np.argwhere(inside).mean(axis=0) + corner == pytest.approx(centre, abs=0.15)


@pytest.mark.parametrize("degrees", [0, 30, 90, 137])
def test_a_rotated_ellipsoid_keeps_its_volume_and_points_where_it_was_turned(degrees):
    inside, _ = shapes.ellipsoid((20, 10, 8), shapes.rotation_in_plane(degrees), (0.2, 0.4, -0.3))
    assert inside.sum() == pytest.approx(4 / 3 * np.pi * 20 * 10 * 8, rel=0.02)
    wanted = (0, np.sin(np.deg2rad(degrees)), np.cos(np.deg2rad(degrees)))
    assert abs(principal_axis(inside) @ wanted) == pytest.approx(1, abs=1e-3)


def test_the_box_around_an_ellipsoid_holds_all_of_it_and_little_more():
    rotation = shapes.rotation_in_space((0.3, -1.2, 0.8, 0.1))
    inside, corner = shapes.ellipsoid((12, 6, 3), rotation, (0.3, 0.1, 0.4))
    grid = np.ogrid[-20:21, -20:21, -20:21]
    whole = shapes.ellipsoid_depth(grid, (0.3, 0.1, 0.4), (12, 6, 3), rotation) > 0
    window = tuple(slice(low + 20, low + 20 + side) for low, side in zip(corner, inside.shape, strict=True))
    assert (whole[window] == inside).all()
    assert whole.sum() == inside.sum()
    assert all(
        side <= wanted + 3
        for side, wanted in zip(inside.shape, 2 * shapes.ellipsoid_half_extent((12, 6, 3), rotation), strict=True)
    )


def test_a_random_rotation_is_a_rotation_and_favours_no_direction():
    rng = np.random.default_rng(0)
    rotations = np.array([shapes.rotation_in_space(rng.standard_normal(4)) for _ in range(4000)])
    assert rotations @ rotations.transpose(0, 2, 1) == pytest.approx(np.broadcast_to(np.eye(3), (4000, 3, 3)), abs=1e-9)
    assert np.linalg.det(rotations) == pytest.approx(np.ones(4000))
    directions = rotations[:, :, 2]
    assert directions.mean(axis=0) == pytest.approx(np.zeros(3), abs=0.04)
    assert directions.T @ directions / 4000 == pytest.approx(np.eye(3) / 3, abs=0.03)


@pytest.mark.parametrize("aspect", [(1, 1, 1), (3, 1, 1), (2, 0.5, 0.5)])
def test_a_grid_of_any_voxels_gives_the_same_physical_volume(aspect):
    prior = Prior((NUCLEUS,), (1, 1), elastic_displacement=0.75).scaled(aspect)
    rng = np.random.default_rng(1)
    members = [draw_group(prior.objects, prior, rng).members[0] for _ in range(8)]
    physical = [member.inside.sum() * np.prod(aspect) for member in members]
    assert physical == pytest.approx([4 / 3 * np.pi * np.prod(member.semi_axes) for member in members], rel=0.12)
    assert prior.mean_object_volume()["nuclei"] == pytest.approx(4 / 3 * np.pi * 23.5 * 10.5**2 / np.prod(aspect))


# Deformation


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 40, 2), (30, 50, 60)])
def test_no_displacement_leaves_every_voxel_where_it_was(shape):
    positions = deform.displaced_positions(shape, np.zeros((3, 3, 3, 3)))
    assert positions == pytest.approx(np.indices(shape), abs=1e-4)


def test_an_even_displacement_shifts_every_voxel_by_it_even_at_the_border():
    shift = np.array([0.5, -2.0, 1.25])
    positions = deform.displaced_positions((12, 33, 20), np.broadcast_to(shift[:, None, None, None], (3, 3, 3, 3)))
    assert positions - np.indices((12, 33, 20)) == pytest.approx(
        np.broadcast_to(shift[:, None, None, None], (3, 12, 33, 20)), abs=1e-4
    )


def test_displacements_have_the_strength_asked_for_and_stay_within_reach():
    rng = np.random.default_rng(0)
    for _ in range(20):
        vectors = deform.draw_displacements(rng, (0.75, 1.5, 3.0))
        moved = deform.displaced_positions((20, 30, 40), vectors) - np.indices((20, 30, 40))
        assert (np.abs(moved).max(axis=(1, 2, 3)) <= deform.reach(vectors)).all()
    many = np.concatenate([deform.draw_displacements(rng, (0.75, 1.5, 3.0)).reshape(3, -1) for _ in range(200)], 1)
    assert many.std(axis=1) == pytest.approx([0.75, 1.5, 3.0], rel=0.05)


def test_the_deformation_changes_the_form_but_keeps_the_volume_within_a_tenth():
    rng = np.random.default_rng(3)
    ratios, changed = [], []
    for _ in range(15):
        state = rng.bit_generator.state
        deformed = draw_group((NUCLEUS,), NUCLEI, rng).members[0]
        rng.bit_generator.state = state
        plain = draw_group((NUCLEUS,), dataclasses.replace(NUCLEI, elastic_displacement=0.0), rng).members[0]
        assert plain.semi_axes == deformed.semi_axes
        ratios.append(deformed.inside.sum() / plain.inside.sum())
        changed.append(deformed.inside.shape != plain.inside.shape or (deformed.inside != plain.inside).any())
    assert all(changed)
    assert np.mean(ratios) == pytest.approx(1, abs=0.03)
    assert ratios == pytest.approx(np.ones(15), abs=0.1)


def test_drawing_leaves_numpys_global_generator_alone():
    np.random.seed(5)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    synthesize_masks((16, 32, 32))
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


# Masks of the paper's kind


def test_masks_are_zeros_and_ones_where_objects_are(papers_masks):
    for masks in papers_masks:
        assert masks.array.shape == (*SHAPE, 2)
        assert masks.shape == SHAPE
        assert masks.voxel_size_um == (1.0, 0.5, 0.5)
        assert masks.array.dtype == np.uint8
        assert masks.objects.dtype == np.uint16
        assert (masks.array == (masks.objects > 0)).all()


def test_counts_sizes_offsets_and_angles_lie_in_the_papers_intervals(papers_masks):
    drawn = [one for masks in papers_masks for one in masks.table]
    for masks in papers_masks:
        assert 45 <= len({one.pair for one in masks.table}) <= 70
    golgi = np.array([one.semi_axes for one in drawn if one.class_name == "golgi"])
    nuclei = np.array([one.semi_axes for one in drawn if one.class_name == "nuclei"])
    assert (golgi == golgi[:, :1]).all()
    assert 5 <= golgi.min() < 5.5 < 8.5 < golgi.max() <= 9
    for axis, (low, high) in enumerate([(17, 30), (8, 13), (8, 13)]):
        assert low <= nuclei[:, axis].min() < low + 1 < high - 1 < nuclei[:, axis].max() <= high
    offsets = np.array([one.offset for one in drawn if one.class_name == "nuclei"])
    assert -6 <= offsets.min() < -5.5 < 5.5 < offsets.max() <= 6
    angles = [one.angle for one in drawn]
    assert 0 <= min(angles) < 10 < 170 < max(angles) <= 180


def test_a_nucleus_lies_at_its_offset_from_its_golgi_turned_with_the_pair(papers_masks):
    for masks in papers_masks:
        golgi = {one.pair: one for one in masks.table if one.class_name == "golgi"}
        for nucleus in (one for one in masks.table if one.class_name == "nuclei" and one.pair in golgi):
            shift = shapes.rotation_in_plane(nucleus.angle) @ nucleus.offset
            found = np.subtract(nucleus.centre, golgi[nucleus.pair].centre)
            assert found == pytest.approx(shift, abs=1e-9)


def test_the_voxels_are_those_of_the_table(papers_masks):
    masks = papers_masks[0]
    names = NUCLEI_AND_GOLGI.class_names
    ratios = []
    for channel, name in enumerate(names):
        listed = {one.number: one for one in masks.table if one.class_name == name}
        labels = masks.objects[..., channel]
        assert set(np.unique(labels)) - {0} == set(listed)
        boxes = ndimage.find_objects(labels)
        for number, one in listed.items():
            box = boxes[number - 1]
            if any(span.start == 0 or span.stop == side for span, side in zip(box, SHAPE, strict=True)):
                continue
            inside = labels[box] == number
            ratios.append(inside.sum() / (4 / 3 * np.pi * np.prod(one.semi_axes)))
            middle = np.argwhere(inside).mean(axis=0) + [span.start for span in box]
            assert middle == pytest.approx(one.centre, abs=2.5)
    assert len(ratios) > 30
    assert np.mean(ratios) == pytest.approx(1, abs=0.03)
    assert ratios == pytest.approx(np.ones(len(ratios)), abs=0.3)


def test_no_two_pairs_overlap_though_a_pair_overlaps_itself(papers_masks):
    shared = 0
    for masks in papers_masks:
        golgi, nuclei = np.moveaxis(masks.objects, -1, 0)
        both = (golgi > 0) & (nuclei > 0)
        assert (golgi[both] == nuclei[both]).all()
        shared += both.sum()
    assert shared > 0


def test_no_two_spheres_are_closer_than_their_radii():
    prior = Prior((ObjectPrior("spots", "sphere", ((4, 8),)),), fill_fraction=(0.2, 0.2), elastic_displacement=0.0)
    table = synthesize_masks((50, 100, 100), prior, seed=1).table
    assert len(table) > 50
    for one, other in itertools.combinations(table, 2):
        assert np.linalg.norm(np.subtract(one.centre, other.centre)) > one.semi_axes[0] + other.semi_axes[0] - 1.5


def test_objects_are_cut_by_every_side_of_the_volume():
    masks = synthesize_masks((40, 200, 200), dataclasses.replace(NUCLEI_AND_GOLGI, count=(30, 30)), seed=4)
    for axis, side in itertools.product(range(3), (0, -1)):
        assert masks.array.take(side, axis=axis).any()


def test_in_plane_nuclei_lie_in_the_plane_and_any_orientation_leaves_it(papers_masks):
    flat = NUCLEI
    tilts = {"in-plane": [], "any": []}
    for orientation, found in tilts.items():
        prior = dataclasses.replace(flat, orientation=orientation)
        for seed in range(12):
            member = draw_group(prior.objects, prior, np.random.default_rng(seed)).members[0]
            found.append(abs(principal_axis(member.inside)[0]))
    assert max(tilts["in-plane"]) < 0.12
    assert max(tilts["any"]) > 0.5
    assert all(one.principal_axis[0] == 0 for one in papers_masks[0].table)


def test_the_same_seed_gives_the_same_masks_and_another_seed_others():
    first, again, other = (synthesize_masks((20, 90, 80), seed=seed) for seed in (7, 7, 8))
    assert (first.objects == again.objects).all()
    assert first.table == again.table
    assert (first.objects != other.objects).any()


def test_a_gap_keeps_pairs_apart():
    prior = Prior((ObjectPrior("spots", "sphere", ((3, 5),)),), count=(40, 40), minimum_gap=3)
    labels = synthesize_masks((30, 120, 120), prior, seed=2).objects[..., 0]
    numbers = np.unique(labels)[1:]
    assert len(numbers) == 40
    for number in numbers:
        around = ndimage.maximum_filter(labels == number, size=7)
        assert set(np.unique(labels[around])) <= {0, number}


def test_a_fill_fraction_is_reached_and_hardly_passed():
    masks = synthesize_masks((40, 150, 150), prior_for({"nuclei": 16}, (0.1, 0.2)), seed=3)
    assert 0.1 <= masks.array.mean() < 0.21


def test_classes_without_an_anchor_are_drawn_on_their_own_and_in_equal_number():
    masks = synthesize_masks((40, 200, 200), prior_for({"nuclei": 18, "golgi": 9}, 0.1), seed=3)
    numbers = [{one.number for one in masks.table if one.class_name == name} for name in ("nuclei", "golgi")]
    assert not numbers[0] & numbers[1]
    assert abs(len(numbers[0]) - len(numbers[1])) <= 2
    assert not masks.array.all(axis=-1).any()


def test_a_prior_for_diameters_draws_objects_of_about_that_size():
    prior = prior_for({"nuclei": 20.0}, 0.2)
    low, high = prior.objects[0].semi_axes[0]
    assert (low, high) == pytest.approx((7.0, 13.0))
    assert prior.orientation == "any"
    assert prior.fill_fraction == (0.2, 0.2)


@pytest.mark.parametrize(
    "prior",
    [
        dataclasses.replace(NUCLEI_AND_GOLGI, count=(5000, 5000)),
        prior_for({"nuclei": 20}, 0.95),
        prior_for({"dust": 0.02}, 0.1),
    ],
    ids=["count", "fill", "smaller than a voxel"],
)
def test_what_cannot_fit_stops_within_seconds_with_a_warning(prior, caplog):
    start = time.perf_counter()
    masks = synthesize_masks((30, 100, 100), prior)
    assert time.perf_counter() - start < 15
    assert "the volume is full" in caplog.text
    assert masks.array.mean() < 0.9


@pytest.mark.parametrize("shape", [(0, 5, 5), (5, -1, 5), (5, 5), (5, 5, 5, 5), (5, 2.5, 5), "no", None, (10**6,) * 3])
def test_a_shape_that_is_none_is_refused(shape):
    with pytest.raises(errors.OptionError, match="shape"):
        synthesize_masks(shape)


def test_a_negative_seed_is_refused():
    with pytest.raises(errors.OptionError, match="seed"):
        synthesize_masks((5, 5, 5), seed=-1)


def test_a_volume_of_one_voxel_is_drawn():
    assert synthesize_masks((1, 1, 1), NUCLEI, seed=1).array.shape == (1, 1, 1, 1)


# Priors


def test_the_papers_prior_says_what_the_paper_says():
    golgi, nuclei = NUCLEI_AND_GOLGI.objects
    assert (golgi.shape, golgi.semi_axes) == ("sphere", ((5, 9),))
    assert (nuclei.shape, nuclei.semi_axes) == ("ellipsoid", ((17, 30), (8, 13), (8, 13)))
    assert (nuclei.anchor, nuclei.offset) == ("golgi", (-6, 6))
    assert NUCLEI_AND_GOLGI.count == (45, 70)
    assert NUCLEI_AND_GOLGI.rotation_degrees == (0, 180)
    assert NUCLEI_AND_GOLGI.elastic_displacement == 0.75
    assert NUCLEI_AND_GOLGI.orientation == "in-plane"
    assert NUCLEI.class_names == ("nuclei",)


@pytest.mark.parametrize("suffix", [".json", ".yaml", ".yml"])
@pytest.mark.parametrize("prior", [NUCLEI_AND_GOLGI.scaled((3, 1.5, 1.5)), prior_for({"er": 7.5, "mito": 3}, 0.2)])
def test_a_prior_comes_back_from_its_file_as_it_was(prior, suffix, tmp_path):
    save_prior(prior, tmp_path / f"prior{suffix}")
    assert load_prior(tmp_path / f"prior{suffix}") == prior


def test_scaling_is_undone_by_its_inverse_and_takes_one_factor_or_three():
    assert NUCLEI.scaled(2).scaled(0.5) == NUCLEI
    assert NUCLEI.scaled(2) == NUCLEI.scaled((2, 2, 2))


def test_choosing_classes_keeps_their_order_and_frees_those_whose_anchor_is_left_out():
    assert NUCLEI_AND_GOLGI.select(("nuclei", "golgi")).class_names == ("nuclei", "golgi")
    assert NUCLEI_AND_GOLGI.select(("nuclei", "golgi")).groups()[0][0].name == "golgi"
    alone = NUCLEI_AND_GOLGI.select(("nuclei",)).objects[0]
    assert (alone.anchor, alone.offset) == (None, (0, 0))


def test_the_mean_volume_of_a_sphere_is_that_of_its_radii():
    radii = np.random.default_rng(0).uniform(5, 9, 100_000)
    assert NUCLEI_AND_GOLGI.mean_object_volume()["golgi"] == pytest.approx(np.mean(4 / 3 * np.pi * radii**3), rel=0.01)


GOOD_OBJECT = {"name": "a", "shape": "sphere", "semi_axes": [[3, 4]]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"colour": 1}, "unknown key 'colour'"),
        ({"objects": []}, "no class to draw"),
        ({"objects": "golgi"}, "give a list"),
        ({"objects": [3]}, "objects\\[0\\] received 3"),
        ({"objects": [{**GOOD_OBJECT, "radius": 3}]}, "unknown key 'radius' in objects\\[0\\]"),
        ({"objects": [{"name": "a", "shape": "sphere"}]}, "lacks the key 'semi_axes'"),
        ({"objects": [GOOD_OBJECT, GOOD_OBJECT]}, "described twice"),
        ({"objects": [{**GOOD_OBJECT, "name": ""}]}, "named ''"),
        ({"objects": [{**GOOD_OBJECT, "shape": "cube"}]}, "unknown shape 'cube'"),
        ({"objects": [{**GOOD_OBJECT, "semi_axes": [[4, 3]]}]}, "empty interval"),
        ({"objects": [{**GOOD_OBJECT, "semi_axes": [[0, 3]]}]}, "give numbers above 0"),
        ({"objects": [{**GOOD_OBJECT, "semi_axes": [[1, 2], [1, 2]]}]}, "give 1 interval"),
        ({"objects": [{**GOOD_OBJECT, "semi_axes": 3}]}, "give 1 interval"),
        ({"objects": [{**GOOD_OBJECT, "semi_axes": ["ab"]}]}, "give two numbers"),
        ({"objects": [{**GOOD_OBJECT, "semi_axes": [[1, float("nan")]]}]}, "give two numbers"),
        ({"objects": [{**GOOD_OBJECT, "anchor": "b"}]}, "unknown anchor 'b'"),
        ({"objects": [{**GOOD_OBJECT, "anchor": "a"}]}, "in a circle"),
        ({"objects": [{**GOOD_OBJECT, "anchor": 3}]}, "anchor received 3"),
        ({"objects": [{**GOOD_OBJECT, "offset": [-1, 1]}]}, "without an anchor"),
        ({"count": None}, "exactly one"),
        ({"fill_fraction": [0.1, 0.2]}, "exactly one"),
        ({"count": [0, 4]}, "give numbers above 0"),
        ({"count": [1.5, 4]}, "two whole numbers"),
        ({"count": 4}, "give two numbers"),
        ({"count": None, "fill_fraction": [0.5, 1.0]}, "above 0 and below 1"),
        ({"rotation_degrees": [True, 2]}, "rotation_degrees"),
        ({"orientation": "upright"}, "orientation received 'upright'"),
        ({"elastic_displacement": -1}, "elastic_displacement"),
        ({"minimum_gap": 1.5}, "minimum_gap"),
        ({"voxel_aspect": [1, 1]}, "voxel_aspect"),
        ({"voxel_aspect": [1, 0, 1]}, "voxel_aspect"),
    ],
)
def test_a_prior_that_cannot_be_drawn_is_refused_and_told_why(changes, said):
    with pytest.raises(errors.PriorError, match=said):
        Prior.from_dict({"objects": [GOOD_OBJECT], "count": [1, 2], **changes})


@pytest.mark.parametrize(
    "act",
    [
        lambda: prior_for({"nuclei": 0}, 0.2),
        lambda: prior_for({}, 0.2),
        lambda: prior_for({"nuclei": 5}, 1.5),
        lambda: NUCLEI.scaled(0),
        lambda: NUCLEI.scaled((1, 2)),
        lambda: NUCLEI.select(("er",)),
        lambda: save_prior(NUCLEI, "prior.txt"),
        lambda: Prior.from_dict([1]),
    ],
)
def test_a_request_that_makes_no_prior_is_refused(act):
    with pytest.raises(errors.PriorError):
        act()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", "{"),
        ("a.yaml", "a: [1"),
        ("a.json", "[]"),
        ("a.txt", "{}"),
        ("a.json", json.dumps({"objects": [GOOD_OBJECT]})),
    ],
)
def test_a_file_that_is_no_prior_is_refused(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(errors.PriorError):
        load_prior(tmp_path / name)


def test_a_prior_file_that_is_not_there_is_named():
    with pytest.raises(errors.FileMissingError, match=r"nowhere\.json"):
        load_prior("nowhere.json")
