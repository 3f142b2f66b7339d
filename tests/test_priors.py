import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from tfcyclegan3d import errors
from tfcyclegan3d.synthesis.classes import classes_of
from tfcyclegan3d.synthesis.diameters import prior_for
from tfcyclegan3d.synthesis.masks import synthesize_masks
from tfcyclegan3d.synthesis.object_prior import ObjectPrior
from tfcyclegan3d.synthesis.prior import NUCLEI, NUCLEI_AND_GOLGI, Prior
from tfcyclegan3d.synthesis.prior_file import load_prior, save_prior
from tfcyclegan3d.volumes import Volume

EVERYTHING = Prior(
    (
        ObjectPrior("nuclei", "ellipsoid", ((5, 6), (4, 5), (4, 5)), per_mm3=(100, 2000), unpaired=0.25),
        ObjectPrior(
            "golgi",
            "ribbon",
            ((2, 3), (1, 2), (0.5, 1)),
            anchor="nuclei",
            offset=((0, 0), (0, 0), (5, 7)),
            alignment_degrees=(0, 30),
            fragments=(3, 5),
            bend_degrees=(20, 90),
        ),
        ObjectPrior("spots", "sphere", ((1, 2),), fill_fraction=(0.01, 0.02)),
    ),
    unit="um",
    minimum_gap=0.5,
    layer_thickness=(10, 12),
    layer_tilt_degrees=(0, 5),
)


def test_the_papers_prior_says_what_the_paper_says():
    golgi, nuclei = NUCLEI_AND_GOLGI.objects
    assert (golgi.shape, golgi.semi_axes) == ("sphere", ((5, 9),))
    assert (nuclei.shape, nuclei.semi_axes) == ("ellipsoid", ((17, 30), (8, 13), (8, 13)))
    assert (nuclei.anchor, nuclei.offset) == ("golgi", ((-6, 6),) * 3)
    assert golgi.count == (45, 70)
    assert NUCLEI_AND_GOLGI.unit == "voxels"
    assert NUCLEI_AND_GOLGI.rotation_degrees == (0, 180)
    assert NUCLEI_AND_GOLGI.elastic_displacement == 0.75
    assert NUCLEI_AND_GOLGI.orientation == "in-plane"
    assert NUCLEI.class_names == ("nuclei",)


@pytest.mark.parametrize("suffix", [".json", ".yaml", ".yml"])
@pytest.mark.parametrize("prior", [NUCLEI_AND_GOLGI, prior_for({"er": 7.5, "mito": 3}, 0.2), EVERYTHING])
def test_a_prior_comes_back_from_its_file_as_it_was(prior, suffix, tmp_path):
    save_prior(prior, tmp_path / f"prior{suffix}")
    assert load_prior(tmp_path / f"prior{suffix}") == prior


def test_every_key_of_a_yaml_file_is_explained(tmp_path):
    save_prior(EVERYTHING, tmp_path / "prior.yaml", "found in: a stack\nsure")
    text = (tmp_path / "prior.yaml").read_text()
    assert "# found in: a stack\n# sure\n" in text
    keys = [line for line in text.splitlines() if ":" in line and not line.startswith("#")]
    assert all("  # " in line for line in keys if "name:" not in line and not line.endswith(":"))
    assert len(keys) > 25
    assert yaml.safe_load(text) == EVERYTHING.to_dict()


def test_choosing_classes_keeps_their_order_and_frees_those_whose_anchor_is_left_out():
    assert NUCLEI_AND_GOLGI.select(("nuclei", "golgi")).class_names == ("nuclei", "golgi")
    assert NUCLEI_AND_GOLGI.select(("nuclei", "golgi")).groups()[0].root.name == "golgi"
    alone = NUCLEI_AND_GOLGI.select(("nuclei",)).objects[0]
    assert (alone.anchor, alone.offset) == (None, ((0, 0),) * 3)
    assert alone.count == (45, 70)


def test_one_number_stands_for_both_ends_of_an_interval():
    short = {"name": "a", "shape": "sphere", "semi_axes": [3, 4], "count": 5}
    full = {"name": "a", "shape": "sphere", "semi_axes": [[3, 4]], "count": [5, 5]}
    assert Prior.from_dict({"objects": [short]}) == Prior.from_dict({"objects": [full]})


def test_numbers_as_yaml_and_numpy_write_them_are_taken():
    text = {"name": "a", "shape": "sphere", "semi_axes": [[1, 2]], "per_mm3": ["8e4", "1e5"]}
    assert Prior.from_dict({"objects": [text], "unit": "um"}).objects[0].per_mm3 == (80000, 100000)
    assert ObjectPrior("a", "sphere", ((np.float32(3), np.int64(4)),), count=np.int64(5)).count == (5, 5)


def test_one_offset_stands_for_all_axes():
    three = ObjectPrior("b", "sphere", ((1, 2),), anchor="a", offset=((-1, 1),) * 3)
    assert ObjectPrior("b", "sphere", ((1, 2),), anchor="a", offset=(-1, 1)) == three


def test_a_fill_replaces_any_other_density_of_the_classes_that_begin_a_group():
    full = NUCLEI_AND_GOLGI.with_fill({"golgi": (0.1, 0.2)})
    assert (full.objects[0].count, full.objects[0].fill_fraction) == (None, (0.1, 0.2))
    assert full.objects[1] == NUCLEI_AND_GOLGI.objects[1]


def test_channels_of_a_group_are_those_of_its_classes():
    assert NUCLEI_AND_GOLGI.channels() == {"golgi": (0, 1)}
    assert prior_for({"a": 3, "b": 4}, 0.1).channels() == {"a": (0,), "b": (1,)}


def test_one_channel_shows_nuclei_and_two_the_papers_classes():
    assert classes_of(Volume(np.zeros((2, 3, 4, 1)))) == ("nuclei",)
    assert classes_of(Volume(np.zeros((2, 3, 4, 2)))) == ("golgi", "nuclei")
    with pytest.raises(errors.ChannelError, match="3 channels"):
        classes_of(Volume(np.zeros((2, 3, 4, 3))))


GOOD_OBJECT = {"name": "a", "shape": "sphere", "semi_axes": [[3, 4]], "count": [1, 2]}
RIBBON = {"name": "a", "shape": "ribbon", "semi_axes": [[3, 4], [2, 3], [1, 2]], "count": [1, 2]}
ANCHORED = {"name": "b", "shape": "sphere", "semi_axes": [[1, 2]], "anchor": "a"}


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
        ({"objects": [{**GOOD_OBJECT, "shape": "cube"}]}, "shape received 'cube'"),
        ({"objects": [{**GOOD_OBJECT, "semi_axes": [[4, 3]]}]}, "empty interval"),
        ({"objects": [{**GOOD_OBJECT, "semi_axes": [[0, 3]]}]}, "give numbers above 0"),
        ({"objects": [{**GOOD_OBJECT, "semi_axes": [[1, 2], [1, 2]]}]}, "give 1 interval"),
        ({"objects": [{**GOOD_OBJECT, "semi_axes": 3}]}, "give 1 interval"),
        ({"objects": [{**GOOD_OBJECT, "semi_axes": ["ab"]}]}, "give two numbers"),
        ({"objects": [{**GOOD_OBJECT, "semi_axes": [[1, float("nan")]]}]}, "give two numbers"),
        ({"objects": [{**ANCHORED, "anchor": "c"}]}, "unknown anchor 'c'"),
        ({"objects": [{**ANCHORED, "anchor": "b"}]}, "in a circle"),
        ({"objects": [{**ANCHORED, "anchor": 3}]}, "anchor received 3"),
        ({"objects": [{**GOOD_OBJECT, "anchor": "b"}]}, "count received .* beside the anchor 'b'"),
        ({"objects": [{**GOOD_OBJECT, "offset": [-1, 1]}]}, "offset received .* without an anchor"),
        ({"objects": [{**GOOD_OBJECT, "alignment_degrees": [0, 10]}]}, "alignment_degrees received .* without"),
        ({"objects": [GOOD_OBJECT, {**ANCHORED, "offset": [[1, 2], [3, 4]]}]}, "give 3 intervals"),
        ({"objects": [GOOD_OBJECT, {**ANCHORED, "offset": [2, 1]}]}, "empty interval"),
        ({"objects": [GOOD_OBJECT, {**ANCHORED, "alignment_degrees": [0, 100]}]}, "from 0 to 90"),
        ({"objects": [GOOD_OBJECT, {**ANCHORED, "unpaired": 1}]}, "unpaired received 1"),
        ({"objects": [GOOD_OBJECT, {**ANCHORED, "unpaired": -0.1}]}, "unpaired received -0.1"),
        ({"objects": [{**GOOD_OBJECT, "fragments": [1, 2]}]}, "leave it out of a sphere"),
        ({"objects": [{**RIBBON, "fragments": [0, 2]}]}, "fragments received"),
        ({"objects": [{**RIBBON, "bend_degrees": [0, 400]}]}, "from 0 to 330"),
        ({"objects": [{**GOOD_OBJECT, "count": None}]}, "exactly one"),
        ({"objects": [{**GOOD_OBJECT, "fill_fraction": [0.1, 0.2]}]}, "exactly one"),
        ({"objects": [{**GOOD_OBJECT, "count": [0, 4]}]}, "give numbers above 0"),
        ({"objects": [{**GOOD_OBJECT, "count": [1.5, 4]}]}, "two whole numbers"),
        ({"objects": [{**GOOD_OBJECT, "count": [1, 10**21]}]}, "of at most 1000000000"),
        ({"objects": [{**GOOD_OBJECT, "count": [1, 10**400]}]}, "give two numbers"),
        ({"objects": [{**GOOD_OBJECT, "shape": ["sphere"]}]}, "shape received"),
        ({"objects": [{**GOOD_OBJECT, "count": None, "fill_fraction": [0.5, 1.0]}]}, "above 0 and below 1"),
        ({"objects": [{**GOOD_OBJECT, "count": None, "per_mm3": [1, 2]}]}, "unit: um"),
        ({"rotation_degrees": [True, 2]}, "rotation_degrees"),
        ({"orientation": "upright"}, "orientation received 'upright'"),
        ({"unit": "nm"}, "unit received 'nm'"),
        ({"elastic_displacement": -1}, "elastic_displacement"),
        ({"elastic_displacement": 2.1}, "more than half of the longest semi-axis"),
        ({"objects": [{**GOOD_OBJECT, "name": "../evil, x"}]}, "a class is named '../evil, x'"),
        ({"elastic_displacment": 1}, "did you mean elastic_displacement"),
        ({"minimum_gap": -1.5}, "minimum_gap"),
        ({"layer_thickness": [0, 4]}, "layer_thickness"),
        ({"layer_tilt_degrees": [0, 4]}, "without a layer"),
        ({"layer_thickness": [3, 4], "layer_tilt_degrees": [0, 80]}, "from 0 to 60"),
    ],
)
def test_a_prior_that_cannot_be_drawn_is_refused_and_told_why(changes, said):
    with pytest.raises(errors.PriorError, match=said):
        Prior.from_dict({"objects": [GOOD_OBJECT], **changes})


@pytest.mark.parametrize(
    "act",
    [
        lambda: prior_for({"nuclei": 0}, 0.2),
        lambda: prior_for({}, 0.2),
        lambda: prior_for({"nuclei": 5}, 1.5),
        lambda: prior_for({"nuclei": 5}, 0.2, axial_elongation=0.9),
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
        ("a.json", json.dumps({"objects": [GOOD_OBJECT, GOOD_OBJECT]})),
    ],
)
def test_a_file_that_is_no_prior_is_refused(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(errors.PriorError):
        load_prior(tmp_path / name)


def test_a_prior_file_that_is_not_there_is_named():
    with pytest.raises(errors.FileMissingError, match=r"nowhere\.json"):
        load_prior("nowhere.json")


def test_the_example_of_the_guide_can_be_drawn(tmp_path):
    guide = (Path(__file__).parent.parent / "docs" / "synthetic-masks.md").read_text(encoding="utf-8")
    (tmp_path / "prior.yaml").write_text(guide.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    prior = load_prior(tmp_path / "prior.yaml")
    masks = synthesize_masks((40, 120, 120), prior, seed=1, voxel_size_um=(1.0, 0.5, 0.5))
    assert {one.class_name for one in masks.table} == {"golgi", "nuclei"}
