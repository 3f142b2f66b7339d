"""A configuration survives being saved and read, and what it refuses it names."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tfcyclegan3d import config, errors, presets
from tfcyclegan3d.config import Config, parse_assignments
from tfcyclegan3d.config_monitors import MonitorConfig
from tfcyclegan3d.synthesis.prior import NUCLEI_AND_GOLGI
from tfcyclegan3d.training.preparation import prepare
from tfcyclegan3d.volumes import Volume

SECTIONS = ("preprocessing", "synthesis", "model", "losses", "training", "supervised", "monitors", "inference")
# A value other than any preset's for every kind of field, among them those that YAML is known to misread.
CHANGED = {
    "seed": 7,
    "classes": ["golgi", "nuclei", "off"],
    "preprocessing.percentiles": [[0.5, 99.9], [95, 98], [1e-5, 100]],
    "preprocessing.downsampling": [1, 2, 3],
    "synthesis.prior": NUCLEI_AND_GOLGI.to_dict(),
    "synthesis.diameters": {"nuclei": 12.5, "golgi": "3um"},
    "synthesis.fill_from_stack": True,
    "synthesis.maximum_shape": [16, 32, 48],
    "model.normalization": "none",
    "losses.class_weights": [3.5, 1, 1e-7],
    "losses.foreground_weights": None,
    "training.max_minutes": 12.5,
    "training.mixed_precision": "off",
    "training.generator_learning_rate": 1e-5,
}


MONITORS = [key for key, value in Config().monitors.__dict__.items() if isinstance(value, MonitorConfig)]


def leaves(document, prefix=""):
    """Every dotted key of a configuration with its value."""
    for key, value in document.items():
        if (not prefix and key in SECTIONS) or (prefix == "monitors." and key in MONITORS):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


# --- round trips


@pytest.mark.parametrize("changes", [{}, CHANGED], ids=["as it is", "changed"])
@pytest.mark.parametrize("preset", sorted(presets.PRESETS))
def test_every_preset_comes_back_from_dict_json_and_yaml_as_it_was(preset, changes, tmp_path):
    original = presets.by_name(preset).replace(changes)
    assert config.from_dict(original.to_dict()) == original
    original.save(tmp_path / "config.json")
    assert config.load(tmp_path / "config.json") == original
    assert json.loads((tmp_path / "config.json").read_text()) == original.to_dict()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(original.to_dict()))
    assert config.load(tmp_path / "config.yaml") == original


@given(
    rate=st.floats(min_value=1e-12, max_value=1e12),
    weights=st.lists(st.floats(min_value=0, max_value=1e20), min_size=1, max_size=4),
)
def test_any_number_comes_back_from_the_text_of_a_saved_file(rate, weights):
    original = Config().replace({"training.generator_learning_rate": rate, "losses.class_weights": weights})
    assert config.from_dict(yaml.safe_load(json.dumps(original.to_dict()))) == original


def test_a_small_number_inside_a_prior_comes_back_from_a_saved_file(tmp_path):
    # JSON writes 1e-05, which YAML would read as a word.
    original = Config().replace({"synthesis.prior": NUCLEI_AND_GOLGI.to_dict() | {"elastic_displacement": 1e-5}})
    original.save(tmp_path / "config.json")
    assert config.load(tmp_path / "config.json") == original


def test_json_indented_with_tabs_is_read(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(presets.fast().to_dict(), indent="\t"))
    assert config.load(path) == presets.fast()


def test_keys_left_out_take_their_defaults(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("training:\n  epochs: 3\n")
    assert config.load(path) == Config().replace({"training.epochs": 3})
    assert config.from_dict({}) == Config()


def test_lists_become_tuples_so_that_a_configuration_cannot_be_changed_behind_its_back():
    percentiles = [1.0, 99.0]
    made = config.from_dict({"preprocessing": {"percentiles": percentiles}})
    percentiles[0] = 50.0
    assert made.preprocessing.percentiles == (1.0, 99.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.training.epochs = 3


def test_a_dictionary_it_gives_can_be_changed_without_changing_it():
    original = Config().replace({"synthesis.diameters": {"nuclei": 8.0}})
    document = original.to_dict()
    document["synthesis"]["diameters"]["nuclei"] = 9.0
    document["training"]["epochs"] = 1
    assert original.synthesis.diameters == {"nuclei": 8.0}
    assert original.training.epochs == 100


# --- replace


def test_replace_changes_what_it_is_told_and_nothing_else():
    original = presets.fast()
    before = original.to_dict()
    changed = original.replace({"training.epochs": 3, "seed": 5})
    assert (changed.training.epochs, changed.seed) == (3, 5)
    differing = {
        key for (key, old), (_, new) in zip(leaves(before), leaves(changed.to_dict()), strict=True) if old != new
    }
    assert differing == {"training.epochs", "seed"}
    assert original.to_dict() == before


@pytest.mark.parametrize(
    "changes",
    [
        {"losses.class_weights": [3.5, 1]},
        {"synthesis.prior": {"count": [1, 2]}},
        {"synthesis.prior": {"count": [1, 2]}, "synthesis.prior.count": [3, 4]},
    ],
)
def test_replace_leaves_what_it_is_given_as_it_was(changes):
    before = copy.deepcopy(changes)
    Config().replace(changes)
    assert changes == before


def test_replace_of_nothing_is_the_same_configuration():
    assert presets.fast().replace({}) == presets.fast()


@pytest.mark.parametrize(
    "key", ["epochs", "trainig.epochs", "training.epoch", "training.epochs.more", "training.patch_shape.z", "", ".seed"]
)
def test_replace_names_a_key_that_does_not_exist_and_those_that_do(key):
    with pytest.raises(errors.UnknownKeyError) as caught:
        Config().replace({key: 1})
    assert repr(key) in str(caught.value)
    assert "training.epochs," in str(caught.value)


def test_keys_within_keys_are_named_in_full():
    with pytest.raises(errors.UnknownKeyError, match=r" monitors\.collapse\.threshold,"):
        Config().replace({"monitors.collapse.treshold": 1})


@pytest.mark.parametrize("section", SECTIONS)
def test_replace_does_not_overwrite_a_whole_section(section):
    with pytest.raises(errors.UnknownKeyError, match=section):
        Config().replace({section: {}})


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("training.steps_per_epoch=11", 11),
        ("training.epochs=3", 3),
        ("training.batch_size=2", 2),
        ("training.patch_shape=[16, 32, 64]", (16, 32, 64)),
        ("training.mixed_precision=off", "off"),
        ("training.mixed_precision=bfloat16", "bfloat16"),
        ("model.filters=4", 4),
        ("model.blocks=0", 0),
        ("losses.cycle=2.5", 2.5),
        ("losses.identity=0", 0.0),
        ("losses.class_weights=3.5,1", (3.5, 1.0)),
        ("preprocessing.percentiles=1,99.8", (1.0, 99.8)),
        ("preprocessing.percentiles=[[95, 99.8], [95, 98]]", ((95.0, 99.8), (95.0, 98.0))),
        ("preprocessing.percentiles=[[95, 98]]", ((95.0, 98.0),)),
        ("preprocessing.percentiles=null", None),
        ("model.residual=concatenate", "concatenate"),
        ("model.output_normalization=instance", "instance"),
        ("training.generator_update=separate", "separate"),
        ("training.augmentation=false", False),
        ("inference.merge=maximum", "maximum"),
    ],
)
def test_the_fixed_names_can_be_set_in_every_preset(assignment, expected):
    section, name = assignment.partition("=")[0].split(".")
    for preset in presets.PRESETS.values():
        changed = preset().replace(parse_assignments([assignment]))
        value = getattr(getattr(changed, section), name)
        assert value == expected
        assert type(value) is type(expected)
        assert name in changed.to_dict()[section]


def test_every_field_of_a_saved_file_can_be_set_to_its_own_value():
    for preset in presets.PRESETS.values():
        for key, value in leaves(preset().to_dict()):
            assert preset().replace(parse_assignments([f"{key}={json.dumps(value)}"])) == preset(), key


# --- parse_assignments


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("training.epochs=3", {"training.epochs": 3}),
        (" training.epochs = 3 ", {"training.epochs": 3}),
        ("losses.cycle=2.5", {"losses.cycle": 2.5}),
        ("losses.class_weights=[3.5, 1]", {"losses.class_weights": [3.5, 1]}),
        ("preprocessing.downsampling=null", {"preprocessing.downsampling": None}),
        ("synthesis.fill_from_stack=true", {"synthesis.fill_from_stack": True}),
        ("synthesis.diameters={nuclei: 8um}", {"synthesis.diameters": {"nuclei": "8um"}}),
        ("preset=a=b", {"preset": "a=b"}),
    ],
)
def test_an_assignment_is_a_key_and_a_value_in_yaml(text, expected):
    assert parse_assignments([text]) == expected


def test_the_last_of_two_assignments_wins():
    assert parse_assignments(["training.epochs=3", "seed=1", "training.epochs=4"]) == {"training.epochs": 4, "seed": 1}


@pytest.mark.parametrize(
    ("assignment", "section", "name", "expected"),
    [
        ("training.generator_learning_rate=1e-4", "training", "generator_learning_rate", 1e-4),
        ("training.generator_learning_rate=1E-4", "training", "generator_learning_rate", 1e-4),
        ("losses.class_weights=1e-4,2", "losses", "class_weights", (1e-4, 2.0)),
        ("losses.class_weights=[1e-4, 2]", "losses", "class_weights", (1e-4, 2.0)),
        ("losses.class_weights=2", "losses", "class_weights", (2.0,)),
        ("losses.class_weights=null", "losses", "class_weights", None),
        ("training.patch_shape=16,16,32", "training", "patch_shape", (16, 16, 32)),
        ("training.mixed_precision=off", "training", "mixed_precision", "off"),
        ("synthesis.fill_from_stack=yes", "synthesis", "fill_from_stack", True),
    ],
)
def test_what_yaml_misreads_still_reaches_its_field(assignment, section, name, expected):
    changed = Config().replace(parse_assignments([assignment]))
    assert getattr(getattr(changed, section), name) == expected


@pytest.mark.parametrize("text", ["golgi,nuclei", "[golgi, nuclei]", "golgi, nuclei"])
def test_classes_are_given_with_or_without_brackets(text):
    assert Config().replace(parse_assignments([f"classes={text}"])).classes == ("golgi", "nuclei")


@pytest.mark.parametrize("text", ["training.epochs", "", "=3", "training.epochs:3"])
def test_an_assignment_without_key_or_equals_is_refused_with_an_example(text):
    with pytest.raises(errors.OptionError) as caught:
        parse_assignments([text])
    assert f"received {text!r}" in str(caught.value)
    assert "training.epochs=3" in str(caught.value)


@pytest.mark.parametrize("value", ["[1, 2", "{a", "'", "2001-99-99", "!!int x"])
def test_an_assignment_whose_value_is_not_yaml_is_refused(value):
    with pytest.raises(errors.OptionError, match="--set"):
        parse_assignments([f"training.epochs={value}"])


# --- unknown keys


@pytest.mark.parametrize("section", ["", *SECTIONS])
def test_an_unknown_key_is_named_with_its_level_and_the_known_ones_there(section):
    document = {section: {"colour": 3}} if section else {"colour": 3}
    with pytest.raises(errors.UnknownKeyError) as caught:
        config.from_dict(document)
    key = f"{section}.colour" if section else "colour"
    known = Config().to_dict()[section] if section else Config().to_dict()
    assert repr(key) in str(caught.value)
    listed = str(caught.value).partition("known here: ")[2].split(", ")
    assert listed == [f"{section}.{name}" if section else name for name in known]


def test_a_misspelt_section_is_refused_rather_than_ignored(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"Training": {"epochs": 3}}))
    with pytest.raises(errors.UnknownKeyError, match="Training"):
        config.load(path)


# --- wrong types

NOT_OF_TYPE = {
    "a whole number": [3.5, "3", "three", True, None, [3], {"a": 1}],
    "a number": ["three", "", True, None, [0.5], {"a": 1}],
    "a word": [3, 0.5, True, None, ["a"], {"a": 1}],
    "true or false": [1, 0, "true", None, [True]],
    "a list": [True, {"a": 1}, "a,b,c,d", [1], [1, 2, 3, 4], []],
    "keys and values": ["a", 3, [1], True],
    "one of": ["layer", "Off", 3, ["off"], True, None, {"off": 1}],
}


def kinds():
    """Every field with what a value of it must be, told from the presets' own values, and whether it may be empty."""
    choices = {"model.normalization", "model.critic_normalization", "training.mixed_precision", "inference.merge"}
    choices |= {"monitors.divergence", *(f"monitors.{name}.consequence" for name in MONITORS)}
    choices |= {"model.residual", "model.output_normalization", "training.generator_update"}
    choices |= {"losses.cycle_mask", "inference.flips", "method"}
    optional_choices = {"model.mask_to_image_normalization"}
    choices |= optional_choices
    tuples = {"training.patch_shape", "inference.tile_shape"}
    optional_tuples = {"preprocessing.percentiles", "preprocessing.downsampling", "synthesis.maximum_shape"}
    optional = {"training.max_minutes": "a number", "synthesis.prior": "keys and values"}
    optional |= {"training.devices": "a whole number", "synthesis.diameters": "keys and values"}
    optional |= {"losses.adversarial_mask": "a number", "supervised.n_validation": "a whole number"}
    free_lists = {"classes", "losses.class_weights", "losses.foreground_weights", "inference.outline_levels"}
    by_type = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}
    for key, value in leaves(Config().to_dict()):
        if key in choices:
            yield key, "one of", key in optional_choices
        elif key in tuples or key in optional_tuples:
            yield key, "a list", key in optional_tuples
        elif key in optional:
            yield key, optional[key], True
        elif key not in free_lists:
            yield key, by_type[type(value)], False


@pytest.mark.parametrize(("key", "kind", "optional"), list(kinds()))
def test_a_value_of_another_type_is_refused_and_named(key, kind, optional):
    for value in NOT_OF_TYPE[kind]:
        if value is None and optional:
            continue
        with pytest.raises(errors.ConfigError) as caught:
            Config().replace({key: value})
        assert f"configuration {key}: received" in str(caught.value), value
        assert "give" in caught.value.remedy, value
        if kind != "a list":
            assert f"received {value!r};" in str(caught.value)


@pytest.mark.parametrize("key", ["losses.class_weights", "losses.foreground_weights", "classes"])
def test_a_list_of_any_length_refuses_what_is_none_and_parts_of_another_type(key):
    for value in (True, {"a": 1}, [], [[1]], [None], [True]):
        with pytest.raises(errors.ConfigError, match=f"configuration {key}: received"):
            Config().replace({key: value})


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("value", [None, 3, "fast", [1]])
def test_a_section_that_is_no_mapping_is_refused(section, value):
    with pytest.raises(errors.ConfigError, match=f"configuration {section}: received"):
        config.from_dict({section: value})


@pytest.mark.parametrize("value", ["[3.5, 1]", '3.5,"1', "golgi,[", "1,2001-99-99"])
def test_a_text_that_is_no_list_is_refused_rather_than_a_crash(value):
    with pytest.raises(errors.ConfigError, match=r"configuration losses\.class_weights: received"):
        Config().replace({"losses.class_weights": value})


# --- ranges


@pytest.mark.parametrize(
    ("key", "outside", "limits"),
    [
        ("preprocessing.percentiles", [[-1, 50], [98, 95], [95, 95], [95, 101], ["nan", 98]], [[0, 100]]),
        ("preprocessing.percentiles", [[[95, 98], [98, 95]], [[95, 98], 98], [[95]], [[95, 98, 99]]], [[[0, 100]] * 3]),
        ("preprocessing.downsampling", [[0, 1, 1], [1, -2, 1]], [[1, 1, 1]]),
        ("preprocessing.working_diameter", [0, -8, "nan"], [0.5]),
        ("synthesis.n_masks", [0, -3], [1]),
        ("synthesis.maximum_shape", [[7, 8, 8], [8, 8, 0]], [[8, 8, 8]]),
        ("model.filters", [0, -1], [1]),
        ("model.blocks", [-1], [0]),
        ("model.end_kernel", [0], [1]),
        ("model.critic_filters", [0], [1]),
        ("model.critic_levels", [0], [1]),
        ("losses.adversarial", [-0.1, "nan", "inf"], [0]),
        ("losses.adversarial_mask", [-0.1, "nan", "inf"], [0]),
        ("losses.cycle", [-0.1, "nan", "inf"], [0]),
        ("losses.identity", [-0.1, "nan", "inf"], [0]),
        ("losses.supervised", [-0.1, "nan"], [0]),
        ("losses.supervised_end", [-0.1, "nan"], [0]),
        ("losses.cycle_noise", [-0.1, "nan"], [0]),
        ("losses.critic_noise", [-0.1, "nan"], [0]),
        ("losses.class_weights", [[-1, 1], ["nan", 1]], [[0, 1]]),
        ("losses.foreground_weights", [[-1, 1], ["nan", 1]], [[1, 2]]),
        ("training.epochs", [0, -1], [1]),
        ("training.steps_per_epoch", [0], [1]),
        ("training.max_minutes", [0, -5, "nan", "inf"], [0.1]),
        ("training.batch_size", [0], [1]),
        ("training.patch_shape", [[4, 8, 8], [8, 8, 10], [0, 0, 0]], [[8, 12, 64]]),
        ("training.start_fraction", [-0.1, 1.1, "nan"], [0, 1]),
        ("training.object_share", [-0.1, 1.1, "nan"], [0, 1]),
        ("training.start_learning_rate", [-1e-4, 0, "nan", "inf"], [1e-9]),
        ("training.generator_learning_rate", [-1e-4, 0, "nan", "inf"], [1e-9]),
        ("training.critic_learning_rate", [-1e-4, 0, "nan", "inf"], [1e-9]),
        ("training.beta_1", [-0.1, 1.1, "nan"], [0]),
        ("training.decay_from", [-0.1, 1.1], [0, 1]),
        ("training.final_rate", [-0.1, 1.1], [0, 1]),
        ("training.pool_size", [-1], [0]),
        ("training.average_momentum", [-0.1, 1.1], [0]),
        ("training.checkpoint_every", [0], [1]),
        ("training.keep_checkpoints", [0], [1]),
        ("inference.tile_shape", [[4, 8, 8], [64, 64, 66]], [[64, 20, 24]]),
        ("inference.overlap", [-1, 64, 100], [0, 63]),
        ("inference.threshold", [0, 1, -0.5, 1.5, "nan"], [0.001, 0.999]),
        ("inference.outline_levels", [[0], [0.6], [0.3, "nan"]], [[0.5], [0.05, 0.3]]),
        ("seed", [-1, 2**32], [0, 2**32 - 1]),
    ],
)
def test_values_outside_their_range_are_refused_and_those_on_its_edge_kept(key, outside, limits):
    for value in outside:
        with pytest.raises(errors.ConfigError, match=f"configuration {key}: received"):
            Config().replace({key: value})
    for value in limits:
        Config().replace({key: value})


def test_a_patch_larger_than_the_tiles_overlap_is_checked_on_the_smallest_side():
    with pytest.raises(errors.ConfigError, match=r"inference\.overlap: received 16"):
        Config().replace({"inference.tile_shape": [16, 64, 64]})


# --- files that are none


def test_a_configuration_file_that_is_not_there_is_named(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(errors.FileMissingError, match=str(path)):
            config.load(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"3", b"- a\n- b\n", b"fast", b"training: [", b"\xff\xfe\x00\x01", b"\x00\x01", b"seed: 2001-99-99\n"],
    ids=["empty", "number", "list", "word", "unclosed", "not text", "control characters", "impossible date"],
)
def test_a_file_that_is_no_mapping_is_refused_and_named_in_one_line(content, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(errors.ConfigError) as caught:
        config.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


# --- presets


def test_the_papers_preset_holds_the_papers_numbers():
    paper = presets.paper()
    # The paper, section II.A: patches of 64 x 64 x 64, three synthetic masks of the size of the images.
    assert paper.training.patch_shape == paper.inference.tile_shape == (64, 64, 64)
    assert paper.preprocessing.downsampling == (1, 1, 1)
    assert (paper.synthesis.n_masks, paper.synthesis.maximum_shape) == (3, None)
    # The paper, section III.B: stretching between the 95th and the 98th percentile.
    assert paper.preprocessing.percentiles == (95.0, 98.0)
    # The CycleGAN paper, which the paper follows for its networks and loss: section 4 and appendix 7.
    assert (paper.losses.adversarial, paper.losses.cycle, paper.losses.identity) == (1.0, 10.0, 5.0)
    assert (paper.model.residual, paper.model.output_normalization) == ("add", "none")
    assert paper.training.generator_update == "joint"
    # The paper's published code, where its text is silent.
    assert paper.training.pool_size == 50
    assert paper.training.batch_size == 2
    assert (paper.training.generator_learning_rate, paper.training.critic_learning_rate) == (5e-4, 1e-4)
    assert (paper.training.beta_1, paper.training.final_rate, paper.training.augmentation) == (0.5, 1.0, False)
    assert (paper.model.filters, paper.model.blocks, paper.model.end_kernel) == (32, 9, 7)
    assert (paper.model.critic_filters, paper.model.critic_levels) == (64, 4)
    assert paper.model.normalization == paper.model.critic_normalization == "instance"
    assert (paper.training.epochs, paper.training.steps_per_epoch) == (100, 216)
    assert (paper.inference.overlap, paper.inference.threshold, paper.inference.merge) == (16, 0.5, "maximum")
    # Nothing the paper does not have.
    assert paper.losses.foreground_weights == (1.0,)
    assert paper.losses.supervised == paper.losses.supervised_end == paper.training.start_fraction == 0
    assert paper.losses.cycle_noise == paper.losses.critic_noise == paper.training.average_momentum == 0
    assert paper.synthesis.prior is None and not paper.synthesis.fill_from_stack


@pytest.mark.parametrize(
    ("classes", "expected"),
    # The paper, section III.C: 3.5 for Golgi, 1 for nuclei.
    [(("golgi", "nuclei"), (3.5, 1.0)), (("nuclei", "golgi"), (1.0, 3.5)), (("nuclei",), (1.0,))],
)
def test_golgi_weighs_what_the_paper_says_wherever_it_stands(classes, expected, caplog):
    caplog.set_level(logging.ERROR)
    rng = np.random.default_rng(0)
    image = Volume(rng.random((8, 8, 8, len(classes))))
    mask = Volume(rng.random(image.array.shape) > 0.5)
    prepared = prepare([image], [mask], presets.paper().replace({"classes": list(classes)}))
    assert prepared.config.losses.class_weights == expected
    assert prepared.config.losses.foreground_weights == (1.0,) * len(classes)
    assert prepared.config.preprocessing.percentiles == (95.0, 98.0)


@pytest.mark.parametrize(
    ("classes", "expected"),
    # The published code: 95 and 99.8 for Golgi, 95 and 98 for nuclei.
    [
        (("golgi", "nuclei"), ((95, 99.8), (95, 98))),
        (("nuclei", "golgi"), ((95, 98), (95, 99.8))),
        (("nuclei",), ((95, 98),)),
    ],
)
def test_the_authors_stretch_golgi_further_wherever_it_stands(classes, expected):
    rng = np.random.default_rng(0)
    image = Volume(rng.random((8, 8, 8, len(classes))).astype(np.float32))
    mask = Volume(rng.random(image.array.shape) > 0.5)
    prepared = prepare([image], [mask], presets.authors().replace({"classes": list(classes)}))
    assert prepared.config.preprocessing.percentiles == expected
    for k, pair in enumerate(expected):
        low, high = np.percentile(image.array[..., k], pair)
        wanted = np.clip((image.array[..., k] - low) / (high - low), 0, 1) * 2 - 1
        np.testing.assert_allclose(prepared.images[0][..., k], wanted, atol=1e-5)


def test_percentiles_for_another_number_of_classes_are_an_error_that_names_the_classes():
    image = Volume(np.random.default_rng(0).random((8, 8, 8, 2)))
    changed = presets.paper().replace({"preprocessing.percentiles": [[95, 98]] * 3})
    with pytest.raises(errors.ConfigError, match=r"preprocessing\.percentiles: received \[\[95.*") as caught:
        prepare([image], [image > 0.5], changed)
    assert "golgi, nuclei" in caught.value.remedy


def test_presets_are_found_by_their_names_and_say_which_they_are():
    assert {"fast", "paper", "authors"} <= set(presets.PRESETS)
    for name, preset in presets.PRESETS.items():
        assert presets.by_name(name) == preset()
        assert preset().preset == name


def test_a_preset_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(errors.OptionError) as caught:
        presets.by_name("quick")
    assert "'quick'" in str(caught.value)
    assert all(name in str(caught.value) for name in presets.PRESETS)


def test_an_unknown_key_names_the_one_that_was_meant_and_its_neighbours_alone():
    with pytest.raises(errors.UnknownKeyError) as caught:
        presets.fast().replace({"training.epochz": 3})
    assert "did you mean training.epochs?" in str(caught.value)
    assert "training.batch_size" in str(caught.value)
    assert "model.filters" not in str(caught.value)
