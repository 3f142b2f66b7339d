import json
import tracemalloc

import numpy as np
import pytest

from tfcyclegan3d import errors
from tfcyclegan3d.cli import main as command_line
from tfcyclegan3d.stored_stacks import read_class_names
from tfcyclegan3d.synthesis import fitting
from tfcyclegan3d.synthesis.diameters import prior_for
from tfcyclegan3d.synthesis.fitting import fit_prior
from tfcyclegan3d.synthesis.masks import synthesize_scene
from tfcyclegan3d.synthesis.prior import NUCLEI_AND_GOLGI
from tfcyclegan3d.synthesis.prior_file import load_prior, save_prior
from tfcyclegan3d.synthesis.simulation import simulate_stack
from tfcyclegan3d.tiff import reading
from tfcyclegan3d.volumes import Volume, read_volume, write_volume


@pytest.fixture
def synthesize(monkeypatch):
    monkeypatch.setattr(command_line, "COMMANDS", ("synthesize",))
    return lambda *arguments: command_line.main(["synthesize", *map(str, arguments)])


def test_masks_objects_prior_and_picture_are_written(synthesize, tmp_path, capsys):
    assert synthesize("--shape", "20,90,100", "--count", 2, "-o", tmp_path / "out", "--quiet") == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    files = ["mask_000.tif", "mask_001.tif", "masks.png", "objects_000.csv", "objects_000.tif", "objects_001.csv"]
    assert names == [*files, "objects_001.tif", "prior.json", "prior.yaml"]
    masks = [read_volume(tmp_path / "out" / f"mask_00{index}.tif") for index in (0, 1)]
    objects = [read_volume(tmp_path / "out" / f"objects_00{index}.tif") for index in (0, 1)]
    for mask, numbered in zip(masks, objects, strict=True):
        assert mask.array.shape == (20, 90, 100, 2)
        assert mask.array.dtype == np.uint8
        assert set(np.unique(mask.array)) == {0, 255}
        assert ((numbered.array > 0) == (mask.array == 255)).all()
        assert numbered.array.max() > 1
    assert (masks[0].array != masks[1].array).any()
    assert load_prior(tmp_path / "out" / "prior.json") == NUCLEI_AND_GOLGI
    assert (tmp_path / "out" / "masks.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "mask_001.tif: 20 x 90 x 100" in printed
    assert "golgi" in printed


@pytest.mark.parametrize(
    ("command", "files"),
    [
        (["synthesize", "--classes", "nuclei,golgi"], {"mask_000": "nuclei,golgi", "objects_000": "nuclei,golgi"}),
        (["simulate", "--count", "1"], {"truth_000": "golgi,nuclei", "objects_000": "golgi,nuclei"}),
    ],
)
def test_masks_hold_the_names_of_their_classes(tmp_path, command, files):
    assert command_line.main([*command, "--shape", "20,90,100", "-o", str(tmp_path / "out"), "--quiet"]) == 0
    for name, classes in files.items():
        assert read_class_names(tmp_path / "out" / f"{name}.tif", 2) == tuple(classes.split(","))


def test_a_stack_of_one_channel_gets_nuclei_alone_and_its_own_voxel_size(synthesize, tmp_path):
    write_volume(tmp_path / "stack.tif", Volume(np.arange(12 * 40 * 50).reshape(12, 40, 50) % 251, (1.0, 0.5, 0.5)))
    assert synthesize("--like", tmp_path / "stack.tif", "-o", tmp_path / "out", "--quiet") == 0
    mask = read_volume(tmp_path / "out" / "mask_000.tif")
    assert mask.array.shape == (12, 40, 50, 1)
    assert mask.voxel_size_um == (1.0, 0.5, 0.5)
    assert load_prior(tmp_path / "out" / "prior.json").class_names == ("nuclei",)


def test_the_same_seed_writes_the_same_masks(synthesize, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        synthesize("--shape", "12,60,60", "-o", tmp_path / name, "--seed", seed, "--quiet")
    first, again, other = (read_volume(tmp_path / name / "objects_000.tif").array for name in "abc")
    assert (first == again).all()
    assert (first != other).any()


def test_a_mask_has_the_shape_and_voxel_size_of_the_stack_it_is_like(synthesize, tmp_path):
    (tmp_path / "images").mkdir()
    for name, shape in (("one", (10, 40, 50)), ("two", (12, 60, 30))):
        stack = Volume(np.ones((*shape, 2), np.uint8), (2.0, 0.5, 0.5))
        write_volume(tmp_path / "images" / f"{name}.tif", stack)
    assert synthesize("--like", tmp_path / "images", "--classes", "nuclei", "-o", tmp_path / "out", "--quiet") == 0
    first, second = (read_volume(tmp_path / "out" / f"mask_00{index}.tif") for index in (0, 1))
    assert first.array.shape == (10, 40, 50, 1)
    assert second.array.shape == (12, 60, 30, 1)
    assert first.voxel_size_um == pytest.approx((2.0, 0.5, 0.5))


def test_a_prior_of_ones_own_is_drawn(synthesize, tmp_path):
    mine = prior_for({"nuclei": 9.0}, 0.05)
    save_prior(mine, tmp_path / "mine.yaml")
    synthesize("--shape", "20,80,80", "--prior", tmp_path / "mine.yaml", "-o", tmp_path / "out", "--quiet")
    assert load_prior(tmp_path / "out" / "prior.json") == load_prior(tmp_path / "out" / "prior.yaml") == mine
    mask = read_volume(tmp_path / "out" / "mask_000.tif").array
    assert 0.05 <= (mask > 0).mean() < 0.06


def test_overwriting_takes_away_just_the_names_that_are_written(synthesize, tmp_path):
    out, mine = tmp_path / "out", ("objects_000_objects.csv", "mask_000_mask.tif", "mask_001a.tif")
    arguments = ("--shape", "8,30,30", "-o", out, "--quiet")
    out.mkdir()
    for name in mine:
        (out / name).write_text("mine")
    assert synthesize(*arguments, "--count", 2) == 0
    assert synthesize(*arguments, "--overwrite") == 0
    assert [(out / name).read_text() for name in mine] == ["mine"] * 3
    assert not (out / "mask_001.tif").exists()


def test_nothing_existing_is_replaced_unless_asked(synthesize, tmp_path, capsys):
    arguments = ("--shape", "8,30,30", "-o", tmp_path / "out", "--quiet")
    synthesize(*arguments)
    before = (tmp_path / "out" / "objects_000.tif").read_bytes()
    capsys.readouterr()
    assert synthesize(*arguments, "--seed", 5) == 2
    message = capsys.readouterr().err
    assert "exists already" in message
    assert message.count("\n") == 1
    assert (tmp_path / "out" / "objects_000.tif").read_bytes() == before
    assert synthesize(*arguments, "--seed", 5, "--overwrite") == 0
    assert (tmp_path / "out" / "objects_000.tif").read_bytes() != before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--shape", "8,30,30", "--count", "0"), "--count"),
        (("--like", "nowhere.tif"), "nowhere.tif"),
        (("--like", "nowhere.tif", "--count", "2"), "--count: cannot be used with --like"),
        (("--shape", "8,30,30", "--classes", "er"), "'er' is not described"),
        (("--shape", "8,30,30", "--seed", "-1"), "--seed"),
        (("--shape", "8,30,30", "--prior", "nowhere.json"), "nowhere.json"),
    ],
)
def test_a_users_mistake_is_one_line_and_writes_nothing(synthesize, tmp_path, capsys, arguments, said):
    assert synthesize(*arguments, "-o", tmp_path / "out") == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--shape", "8,30,30", "--classes", ","),
        ("--shape", "8,30"),
        ("--shape", "0,3,3"),
        ("--shape", "a,b,c"),
        (),
        ("--shape", "8,8,8", "--like", "a.tif"),
    ],
)
def test_an_option_that_cannot_be_parsed_ends_with_status_two(synthesize, tmp_path, arguments):
    with pytest.raises(SystemExit) as stopped:
        synthesize(*arguments, "-o", tmp_path / "out")
    assert stopped.value.code == 2


# Fitting


@pytest.fixture(scope="module")
def stack_of_balls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("balls")
    stack = simulate_stack((40, 110, 110), prior_for({"nuclei": 12.0}, 0.08), seed=3)
    write_volume(folder / "balls.tif", Volume(stack.image.array, (0.5, 0.5, 0.5)))
    return folder / "balls.tif", stack.truth.table


def test_a_fit_says_what_it_found_and_draws_it(synthesize, tmp_path, capsys, stack_of_balls):
    path, table = stack_of_balls
    assert synthesize("--like", path, "--fit", "-o", tmp_path / "out", "--quiet") == 0
    found = json.loads((tmp_path / "out" / "fit.json").read_text())["nuclei"]
    diameters = [2 * np.prod(one.semi_axes) ** (1 / 3) for one in table]
    assert found["unit"] == "um"
    assert found["diameter"] == pytest.approx(0.5 * np.median(diameters), rel=0.15)
    assert found["counts"][0] == pytest.approx(len(table), rel=0.25)
    assert found["per_mm3"] == pytest.approx(found["counts"][0] / (40 * 110 * 110 * 0.125) * 1e9)
    prior = load_prior(tmp_path / "out" / "prior.yaml")
    assert prior.unit == "um"
    mask = read_volume(tmp_path / "out" / "mask_000.tif")
    assert (mask.array > 0).mean() == pytest.approx(found["fill_fraction"], rel=0.25)
    assert (tmp_path / "out" / "beside_000.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert f"nuclei: diameter {found['diameter']:.3g} um" in said
    assert f"# nuclei: diameter {found['diameter']:.3g} um" in (tmp_path / "out" / "prior.yaml").read_text()


def test_stacks_are_fitted_to_one_after_the_other(synthesize, tmp_path, monkeypatch, capsys):
    noise = np.random.default_rng(0).integers(0, 99, (32, 256, 512), np.uint8)
    for name in "abc":
        write_volume(tmp_path / f"{name}.tif", Volume(noise))
    monkeypatch.setattr(reading, "MOST_IN_MEMORY", 0)
    peaks = []

    def looked_at(stacks, *_):
        assert sum(stack.array.max() for stack in stacks) == 3 * 98
        peaks.append(tracemalloc.get_traced_memory()[1])
        raise errors.VolumeContentError("a", "was looked at", "go on")

    monkeypatch.setattr(fitting, "fit_prior", looked_at)
    tracemalloc.start()
    assert synthesize("--like", tmp_path / "*.tif", "--fit", "-o", tmp_path / "out") == 2
    tracemalloc.stop()
    assert "was looked at" in capsys.readouterr().err
    assert peaks[0] < 2 * noise.nbytes
    assert not (tmp_path / "out").exists()


def test_a_voxel_size_given_wins_over_that_of_the_file(synthesize, tmp_path, stack_of_balls):
    arguments = ("--like", stack_of_balls[0], "--voxel-size", "2,2,2", "--fit", "-o", tmp_path / "out", "--quiet")
    assert synthesize(*arguments) == 0
    assert read_volume(tmp_path / "out" / "mask_000.tif").voxel_size_um == (2.0, 2.0, 2.0)
    assert json.loads((tmp_path / "out" / "fit.json").read_text())["nuclei"]["diameter"] == pytest.approx(24, rel=0.2)


def test_a_diameter_that_is_known_is_believed(stack_of_balls):
    fit = fit_prior([read_volume(stack_of_balls[0])], diameters={"nuclei": "9um"})
    assert fit.classes[0].diameter == pytest.approx(9.0)
    assert any("looks like a diameter of" in doubt for doubt in fit.classes[0].doubts)


@pytest.mark.parametrize("classes", [(), ("--classes", "golgi,nuclei")])
def test_of_two_classes_the_one_without_a_diameter_is_measured_as_in_a_training(synthesize, tmp_path, capsys, classes):
    stack = simulate_stack((24, 90, 90), prior_for({"golgi": 10.0, "nuclei": 16.0}, 0.1), seed=4).image
    write_volume(tmp_path / "two.tif", stack)
    arguments = ("--like", tmp_path / "two.tif", "--object-diameter", "nuclei=14", *classes, "-o", tmp_path / "out")
    assert synthesize(*arguments, "--quiet") == 0
    found = json.loads((tmp_path / "out" / "fit.json").read_text())
    assert found["nuclei"]["diameter"] == pytest.approx(14)
    assert found["golgi"]["diameter"] == pytest.approx(fit_prior([stack]).classes[0].diameter)
    prior = load_prior(tmp_path / "out" / "prior.yaml")
    assert prior == fit_prior([stack], diameters={"nuclei": 14}).prior
    assert "golgi: diameter" in capsys.readouterr().out


def test_diameters_of_all_classes_are_drawn_without_a_fit(synthesize, tmp_path):
    write_volume(tmp_path / "two.tif", Volume(np.arange(12 * 60 * 60 * 2).reshape(12, 60, 60, 2) % 251))
    arguments = ("--like", tmp_path / "two.tif", "--object-diameter", "nuclei=16,golgi=6", "-o", tmp_path / "out")
    assert synthesize(*arguments, "--quiet") == 0
    assert not (tmp_path / "out" / "fit.json").exists()
    golgi, nuclei = load_prior(tmp_path / "out" / "prior.yaml").objects
    assert (golgi.name, nuclei.name) == ("golgi", "nuclei")
    assert (golgi.typical_diameter, nuclei.typical_diameter) == pytest.approx((6, 16))


def test_pairs_are_found_where_objects_lie_by_each_other_and_only_there():
    stack = simulate_stack((48, 200, 200), seed=6)
    golgi, nuclei = fit_prior([stack.image]).prior.objects
    assert (golgi.shape, nuclei.anchor) == ("sphere", "golgi")
    assert 3 < nuclei.offset[0][1] < 10
    alone = simulate_stack((48, 200, 200), prior_for({"golgi": 12.0, "nuclei": 16.0}, 0.05), seed=6)
    assert all(one.anchor is None for one in fit_prior([alone.image]).prior.objects)


def test_channels_that_are_alike_are_paired_where_they_are(stack_of_balls):
    grey = read_volume(stack_of_balls[0]).array[..., :1]
    golgi, nuclei = fit_prior([Volume(np.repeat(grey, 2, axis=-1))]).prior.objects
    assert (nuclei.anchor, nuclei.offset) == (golgi.name, ((0.0, 0.0),) * 3)


def test_a_stack_without_objects_asks_for_their_diameter():
    noise = np.random.default_rng(0).poisson(100, (20, 40, 40)).astype(np.uint16)
    noise[0, 0, 0] = 60000  # What a threshold leaves is one voxel.
    with pytest.raises(errors.VolumeContentError, match="no nuclei were found"):
        fit_prior([Volume(noise)])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--shape", "8,30,30", "--fit"), "--fit"),
        (("--shape", "8,30,30", "--workers", "0"), "--workers"),
        (("--shape", "8,30,30", "--channels", "0"), "--channels"),
        (("--shape", "8,30,30", "--axes", "ZYX"), "--axes"),
        (("--shape", "8,30,30", "--object-diameter", "a=5,a=6"), "one diameter of a"),
        (("--shape", "8,30,30", "--object-diameter", "a=0.5"), "smaller than a voxel"),
        (("--shape", "8,30,30", "--object-diameter", "nuclei"), "--object-diameter"),
        (
            ("--shape", "8,30,30", "--object-diameter", "nuclei=9", "--classes", "golgi,nuclei"),
            "give one of golgi, too: nuclei=9,golgi=VALUE",
        ),
        (("--like", "{one}", "--fit", "--prior", "{two}"), "--prior"),
        (("--like", "{one}", "--prior", "{two}"), "1 channel, but the prior draws 2 classes"),
        (("--like", "{one}", "--fit", "--classes", "golgi,nuclei"), "1 channel"),
        (("--like", "{one}", "--channels", "1"), "channels [1]"),
        (("--shape", "8,30,30", "--prior", "{um}"), "voxel size is not known"),
    ],
)
def test_a_mistake_about_what_to_draw_is_one_line(synthesize, tmp_path, capsys, arguments, said):
    write_volume(tmp_path / "one.tif", Volume(np.arange(12 * 40 * 50).reshape(12, 40, 50) % 251))
    save_prior(prior_for({"a": 4, "b": 5}, 0.1), tmp_path / "two.json")
    save_prior(prior_for({"a": 4}, 0.1, unit="um"), tmp_path / "um.yaml")
    files = {"one": tmp_path / "one.tif", "two": tmp_path / "two.json", "um": tmp_path / "um.yaml"}
    assert synthesize(*(text.format(**files) for text in arguments), "-o", tmp_path / "out", "--quiet") == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_overwriting_leaves_no_mask_of_an_earlier_call_and_everything_else(synthesize, tmp_path):
    arguments = ("--shape", "8,30,30", "-o", tmp_path / "out", "--quiet")
    synthesize(*arguments, "--count", 3)
    (tmp_path / "out" / "mask_mine.tif").write_text("mine")
    assert synthesize(*arguments, "--overwrite") == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"mask_000.tif", "mask_mine.tif"} <= names
    assert not {"mask_001.tif", "objects_002.tif", "objects_001.csv"} & names


def test_what_was_found_is_drawn_in_number(stack_of_balls):
    fit = fit_prior(read_volume(stack_of_balls[0]))
    drawn = [len(synthesize_scene((40, 110, 110), fit.prior, seed, (0.5,) * 3).table) for seed in range(6)]
    assert np.mean(drawn) == pytest.approx(fit.classes[0].counts[0], rel=0.15)


def test_every_stack_must_have_the_priors_channels(synthesize, tmp_path, capsys):
    for name, n_channels in (("a", 2), ("b", 1)):
        write_volume(tmp_path / f"{name}.tif", Volume(np.ones((12, 40, 50, n_channels), np.uint8)))
    for arguments in ((), ("--object-diameter", "nuclei=12,golgi=6")):
        assert synthesize("--like", tmp_path / "a.tif", tmp_path / "b.tif", *arguments, "-o", tmp_path / "out") == 2
        assert "b: has 1 channel, but the prior draws 2 classes (golgi, nuclei)" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_to_is_one_line(synthesize, capsys):
    assert synthesize("--shape", "8,30,30", "-o", "/proc", "--quiet") == 2
    assert "cannot be written" in capsys.readouterr().err


def test_unlike_voxel_sizes_are_fitted_by_the_volume_they_cover():
    in_um = prior_for({"nuclei": 10.0}, 0.08, unit="um")
    fine = simulate_stack((60, 120, 120), in_um, seed=1, voxel_size_um=(0.5,) * 3).image
    coarse = simulate_stack((40, 80, 80), in_um, seed=2, voxel_size_um=(1.0,) * 3).image
    low, high = fit_prior([fine, coarse]).prior.objects[0].fill_fraction
    assert 0.05 < low < high < 0.11


def test_a_known_diameter_keeps_the_fill_that_was_measured(stack_of_balls):
    volume = read_volume(stack_of_balls[0])
    as_found, doubled = fit_prior(volume), fit_prior(volume, diameters={"nuclei": "12um"})
    assert doubled.classes[0].counts[0] == pytest.approx(as_found.classes[0].counts[0] / 8, rel=0.2)
    assert doubled.classes[0].confidence < 0.3
    assert np.mean(doubled.prior.objects[0].fill_fraction) == pytest.approx(
        np.mean(as_found.prior.objects[0].fill_fraction), rel=0.4
    )


@pytest.mark.parametrize(
    ("n_channels", "options", "is_said"),
    [
        (2, (), True),
        (2, ("--object-diameter", "golgi=6,nuclei=16"), True),
        (2, ("--classes", "golgi,nuclei"), False),
        (1, (), False),
    ],
)
def test_classes_that_nobody_named_are_said(synthesize, tmp_path, capsys, n_channels, options, is_said):
    write_volume(tmp_path / "a.tif", Volume(np.arange(12 * 90 * 90 * n_channels).reshape(12, 90, 90, n_channels) % 251))
    assert synthesize("--like", tmp_path / "a.tif", *options, "-o", tmp_path / "out", "--quiet") == 0
    said = "channel 0 is taken for golgi, channel 1 for nuclei; --classes changes it\n"
    assert capsys.readouterr().out.count(said) == is_said


@pytest.mark.parametrize(("size", "is_said"), [(None, True), ((2.0, 0.5, 0.5), False)])
def test_a_voxel_size_that_nothing_tells_is_said_to_be_taken_for_isotropic(synthesize, tmp_path, capsys, size, is_said):
    write_volume(tmp_path / "stack.tif", Volume(np.arange(24_000, dtype=np.uint16).reshape(15, 40, 40, 1), size))
    arguments = ("--object-diameter", "nuclei=8", "-o", tmp_path / "out", "--quiet")
    assert synthesize("--like", tmp_path / "stack.tif", *arguments) == 0
    assert ("the voxel size is not known" in capsys.readouterr().out) == is_said
