"""Images find their truths, in the authors' layout and in one's own, or an error names what does not fit."""

import dataclasses

import numpy as np
import pytest
import tifffile

from tfcyclegan3d import errors
from tfcyclegan3d.cli.main import main
from tfcyclegan3d.experiments.data_layout import LabelledStacks, authors_layout, plain_layout
from tfcyclegan3d.synthesis.simulation import simulate_stack
from tfcyclegan3d.volumes import Volume, read_volume, write_volume

CROPS = {"Crop1": (14, 11, 6), "Crop2": (12, 13, 5), "Crop10": (11, 15, 7), "Crop5_BC": (13, 12, 6)}
NATURAL = ["Crop1", "Crop2", "Crop5_BC", "Crop10"]


def ball(shape_yxz, centre, semi_axes):
    """Voxels (Y, X, Z) inside a sphere or an ellipsoid."""
    grid = np.indices(shape_yxz)
    return sum(((g - c) / s) ** 2 for g, c, s in zip(grid, centre, semi_axes, strict=True)) <= 1


def golgi_and_nucleus(shape_yxz):
    """A sphere near the origin and an ellipsoid, long in y, away from it: no axis looks like another."""
    return ball(shape_yxz, (3, 2, 1), (2, 2, 2)), ball(shape_yxz, (6, 6, 3), (5, 2, 1.5))


def write_crop(images, masks, name, shape_yxz, ending=".tif"):
    """Write an image and its mask as the authors store them: (Y, X, Z, RGB), 8 bit."""
    golgi, nucleus = golgi_and_nucleus(shape_yxz)
    nothing = np.zeros(shape_yxz, bool)
    image = np.stack([20 + 180 * golgi, 10 + 90 * nucleus, nothing], axis=-1).astype(np.uint8)
    mask = np.stack([255 * golgi, 255 * nucleus, nothing], axis=-1).astype(np.uint8)
    tifffile.imwrite(images / f"{name}{ending}", image, photometric="rgb")
    tifffile.imwrite(masks / f"{name}{ending}", mask, photometric="rgb")


@pytest.fixture
def authors(tmp_path):
    folder = tmp_path / "retina"
    for name in ("Images", "Masks"):
        (folder / name).mkdir(parents=True)
    for name, shape in CROPS.items():
        write_crop(folder / "Images", folder / "Masks", name, shape)
    return folder


def stems(paths):
    return [path.stem for path in paths]


def one_line(caught):
    text = str(caught.value)
    assert "\n" not in text and "; " in text
    return text


def write_plain(path, shape=(3, 4, 5), n_channels=2, value=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(path, Volume(np.full((*shape, n_channels), value, np.uint8)))
    return path


# ---- the authors' layout


def test_the_authors_crops_come_in_natural_order_with_the_mask_of_their_name(authors):
    layout = authors_layout(str(authors))
    assert stems(layout.images) == stems(layout.truths) == NATURAL
    assert {path.parent.name for path in layout.images} == {"Images"}
    assert {path.parent.name for path in layout.truths} == {"Masks"}
    assert (layout.axes, layout.channels, layout.synthetic) == ("YXZC", (0, 1), [])


def test_the_authors_red_is_channel_0_and_green_channel_1_on_axes_zyx(authors):
    layout = authors_layout(authors)
    for name, image, truth in zip(NATURAL, layout.open_images(), layout.open_truths(), strict=True):
        y, x, z = CROPS[name]
        assert (image.name, image.array.shape, truth.array.shape) == (name, (z, y, x, 2), (z, y, x, 2))
        golgi, nucleus = (np.moveaxis(inside, -1, 0) for inside in golgi_and_nucleus(CROPS[name]))
        np.testing.assert_array_equal(image.array[..., 0], np.where(golgi, 200, 20))
        np.testing.assert_array_equal(image.array[..., 1], np.where(nucleus, 100, 10))
        np.testing.assert_array_equal(truth.array[..., 0], np.where(golgi, 255, 0))
        np.testing.assert_array_equal(truth.array[..., 1], np.where(nucleus, 255, 0))


def test_endings_may_differ_between_an_image_and_its_mask(authors):
    (authors / "Masks" / "Crop2.tif").rename(authors / "Masks" / "Crop2.TIFF")
    assert [path.name for path in authors_layout(authors).truths][1] == "Crop2.TIFF"


@pytest.mark.parametrize("how", [("--missing-chunks", "fill"), ("--axes", "YXZC"), ("--channels", "1,0")])
@pytest.mark.parametrize("only", ["--layout authors", "--demo"])
def test_how_to_read_is_refused_of_stacks_that_are_read_in_one_way(authors, capsys, only, how):
    stacks = () if only == "--demo" else ("--images", str(authors))
    arguments = ("crossval", *only.split(), *stacks, *how, "-o", str(authors / "out"))
    assert main([*arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    assert f"{only}: cannot be used with {' '.join(how) if how[1] == 'fill' else how[0]}; leave" in error
    assert not (authors / "out").exists()


def test_a_mask_without_a_crop_is_left_out(authors):
    (authors / "Images" / "Crop2.tif").unlink()
    layout = authors_layout(authors)
    assert stems(layout.images) == stems(layout.truths) == ["Crop1", "Crop5_BC", "Crop10"]


@pytest.mark.parametrize("spelling", ["syntethic_masks", "synthetic_masks"])
def test_the_authors_synthetic_masks_are_found_in_either_spelling_and_read_like_the_crops(authors, spelling):
    (authors / spelling).mkdir()
    for name in ("mask10", "mask9"):
        write_crop(authors / spelling, authors / spelling, name, (12, 10, 8))
    layout = authors_layout(authors)
    assert stems(layout.synthetic) == ["mask9", "mask10"]
    golgi, nucleus = (np.moveaxis(inside, -1, 0) for inside in golgi_and_nucleus((12, 10, 8)))
    np.testing.assert_array_equal(layout.open_synthetic()[0].array, 255 * np.stack([golgi, nucleus], axis=-1))


def test_an_authors_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(errors.FileMissingError) as caught:
        authors_layout(tmp_path / "nowhere")
    assert one_line(caught).startswith(f"{tmp_path / 'nowhere'}: no such folder")


@pytest.mark.parametrize("missing", ["Images", "Masks"])
def test_an_authors_folder_without_images_or_masks_says_which(authors, missing):
    (authors / missing).rename(authors / "elsewhere")
    with pytest.raises(errors.UserError) as caught:
        authors_layout(authors)
    assert one_line(caught).startswith(f"{authors}: holds no folder {missing};")


@pytest.mark.parametrize("empty", ["Images", "Masks", "syntethic_masks"])
def test_an_authors_folder_with_nothing_inside_is_named(authors, empty):
    (authors / empty).mkdir(exist_ok=True)
    for path in (authors / empty).iterdir():
        path.unlink()
    (authors / empty / "notes.txt").touch()
    with pytest.raises(errors.FileMissingError) as caught:
        authors_layout(authors)
    assert one_line(caught).startswith(f"{authors / empty}: no such TIFF stack in this folder")


def test_a_crop_without_its_mask_is_named(authors):
    (authors / "Masks" / "Crop5_BC.tif").rename(authors / "Masks" / "Crop5.tif")
    with pytest.raises(errors.UserError) as caught:
        authors_layout(authors)
    assert one_line(caught).startswith(f"{authors / 'Images' / 'Crop5_BC.tif'}: has no mask in {authors / 'Masks'};")


def test_a_crop_with_two_masks_is_named(authors):
    (authors / "Masks" / "Crop2.tiff").write_bytes((authors / "Masks" / "Crop1.tif").read_bytes())
    with pytest.raises(errors.UserError, match=r"Crop2\.tiff: Crop2\.tif beside it has the same name"):
        authors_layout(authors)


def test_a_mask_of_another_shape_than_its_crop_is_named_with_both_shapes(authors):
    (authors / "Masks" / "Crop2.tif").write_bytes((authors / "Masks" / "Crop1.tif").read_bytes())
    with pytest.raises(errors.ShapeMismatchError) as caught:
        authors_layout(authors)
    text = one_line(caught)
    assert str(authors / "Masks" / "Crop2.tif") in text
    assert "(5, 12, 13)" in text and "(6, 14, 11)" in text


@pytest.mark.parametrize("folder", ["Images", "synthetic_masks"])
def test_a_file_that_cannot_be_yxz_rgb_is_refused(authors, folder):
    (authors / folder).mkdir(exist_ok=True)
    tifffile.imwrite(authors / folder / "Crop1.tif", np.zeros((14, 11, 6), np.uint8), photometric="minisblack")
    with pytest.raises(errors.AxesError, match=r"Crop1\.tif: .*YXZC"):
        authors_layout(authors)


# ---- the plain layout


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "stacks"
    arguments = ["simulate", "--count", "3", "--shape", "8,30,32", "--seed", "1", "-o", str(folder), "--quiet"]
    assert main(arguments) == 0
    return folder


@pytest.mark.parametrize("truths", ["", "truth_*.tif"])
def test_one_folder_of_simulate_serves_for_images_and_truth(simulated, truths):
    layout = plain_layout([str(simulated)], [str(simulated / truths)])
    assert stems(layout.images) == ["stack_000", "stack_001", "stack_002"]
    assert stems(layout.truths) == ["truth_000", "truth_001", "truth_002"]
    assert (layout.axes, layout.channels, layout.synthetic) == (None, None, [])
    for i, (image, truth) in enumerate(zip(layout.open_images(), layout.open_truths(), strict=True)):
        oracle = simulate_stack((8, 30, 32), seed=(1, i))
        np.testing.assert_array_equal(image.array, oracle.image.array)
        np.testing.assert_array_equal(truth.array, 255 * (oracle.truth > 0).array.astype(np.uint8))


def test_numbered_objects_may_be_the_truth(simulated):
    layout = plain_layout([simulated / "stack_*.tif"], [simulated / "objects_*.tif"])
    assert stems(layout.truths) == ["objects_000", "objects_001", "objects_002"]
    np.testing.assert_array_equal(layout.open_truths()[2].array, simulate_stack((8, 30, 32), seed=(1, 2)).truth.objects)


def test_truths_that_do_not_tell_their_axes_have_those_of_the_images(tmp_path):
    array = np.random.default_rng(0).integers(1, 9, (4, 2, 6, 5), np.uint8)
    tifffile.imwrite(tmp_path / "stack_1.tif", array)
    tifffile.imwrite(tmp_path / "truth_1.tif", array)
    write_volume(tmp_path / "truth_2.tif", Volume(np.moveaxis(array, 1, -1)))
    with pytest.raises(errors.AxesError):
        plain_layout([tmp_path / "stack_1.tif"], [tmp_path / "truth_1.tif"])
    for truth in ("truth_1.tif", "truth_2.tif"):
        stacks = plain_layout([tmp_path / "stack_1.tif"], [tmp_path / truth], axes="ZCYX")
        np.testing.assert_array_equal(stacks.open_truths()[0].array, np.moveaxis(array, 1, -1))


def test_one_class_is_read_from_files_of_axes_zyx_with_instance_numbers(tmp_path):
    numbers = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)
    for side in ("images", "truth"):
        (tmp_path / side).mkdir()
    for k in range(3):
        tifffile.imwrite(tmp_path / "images" / f"cells{k}.tif", numbers + 500, photometric="minisblack")
        tifffile.imwrite(tmp_path / "truth" / f"labels{k}.tif", numbers + k, photometric="minisblack")
    layout = plain_layout([tmp_path / "images"], [tmp_path / "truth"])
    np.testing.assert_array_equal(layout.open_truths()[2].array[..., 0], numbers + 2)
    np.testing.assert_array_equal(layout.open_images()[2].array[..., 0], numbers + 500)


def test_folders_pair_in_natural_order_and_files_in_the_order_given(tmp_path):
    for name in ("cell10", "cell9"):
        for side in ("images", "truth"):
            write_plain(tmp_path / side / f"{name}.tif")
    layout = plain_layout([tmp_path / "images"], [tmp_path / "truth"])
    assert stems(layout.images) == stems(layout.truths) == ["cell9", "cell10"]
    swapped = [tmp_path / "images" / "cell10.tif", tmp_path / "images" / "cell9.tif"]
    assert stems(plain_layout(swapped, [tmp_path / "truth" / path.name for path in swapped]).truths) == [
        "cell10",
        "cell9",
    ]


def test_more_images_than_truths_are_counted(tmp_path):
    images = [write_plain(tmp_path / "images" / f"{k}.tif") for k in range(3)]
    truths = [write_plain(tmp_path / "truth" / f"{k}.tif") for k in range(2)]
    with pytest.raises(errors.OptionError) as caught:
        plain_layout(images, truths)
    assert one_line(caught).startswith("--images and --truth: received '3 and 2 stacks';")
    with pytest.raises(errors.OptionError, match="3 and 2 stacks"):
        plain_layout(images, [*truths, truths[0]])


def test_names_that_belong_to_another_pair_are_refused(tmp_path):
    images = [write_plain(tmp_path / f"stack_{k}.tif") for k in (0, 1, 2)]
    truths = [write_plain(tmp_path / f"truth_{k}.tif") for k in (0, 2, 3)]
    with pytest.raises(errors.UserError) as caught:
        plain_layout(images, truths)
    assert one_line(caught).startswith("stack_1.tif would be paired with truth_2.tif")
    with pytest.raises(errors.UserError, match=r"stack_1\.tif would be paired with truth_0\.tif"):
        plain_layout([images[1], images[0]], [truths[0], tmp_path / "truth_3.tif"])


def test_names_that_nothing_shares_pair_by_order_alone(tmp_path):
    images = [write_plain(tmp_path / f"a{k}.tif") for k in range(2)]
    truths = [write_plain(tmp_path / f"b{k}.tif") for k in range(2)]
    layout = plain_layout(images, truths)
    assert layout == LabelledStacks(images, truths, None, None, [])


def test_no_stacks_at_all_are_refused(tmp_path):
    stack = write_plain(tmp_path / "cell.tif")
    for images, truths, option in (([], [stack], "--images"), ([stack], [], "--truth")):
        with pytest.raises(errors.OptionError) as caught:
            plain_layout(images, truths)
        assert one_line(caught).startswith(f"{option}: received 'no stacks';")


def test_a_folder_without_stacks_or_a_path_to_nothing_is_named(tmp_path):
    stack = write_plain(tmp_path / "cell.tif")
    (tmp_path / "empty").mkdir()
    for where in ("empty", "nowhere", "none*.tif"):
        for images, truths in (([stack], [tmp_path / where]), ([tmp_path / where], [stack])):
            with pytest.raises(errors.FileMissingError) as caught:
                plain_layout(images, truths)
            assert one_line(caught).startswith(f"{tmp_path / where}: no such")


def test_a_file_on_both_sides_is_named(tmp_path):
    write_plain(tmp_path / "cell_1.tif")
    write_plain(tmp_path / "cell_2.tif")
    with pytest.raises(errors.OptionError) as caught:
        plain_layout([tmp_path], [tmp_path])
    assert one_line(caught).startswith(f"--images and --truth: received '{tmp_path / 'cell_1.tif'}';")
    (tmp_path / "link.tif").symlink_to(tmp_path / "cell_2.tif")
    with pytest.raises(errors.OptionError, match=r"cell_2\.tif"):
        plain_layout([tmp_path / "cell_2.tif"], [tmp_path / "link.tif"])


def test_an_image_and_a_truth_of_different_shape_are_named_with_both_shapes(tmp_path):
    images = [write_plain(tmp_path / "images" / f"{k}.tif") for k in range(2)]
    truths = [write_plain(tmp_path / "truth" / f"{k}.tif", shape=(3, 4, 5 + k)) for k in range(2)]
    with pytest.raises(errors.ShapeMismatchError) as caught:
        plain_layout(images, truths)
    assert one_line(caught).startswith(f"{images[1]} has shape (3, 4, 5) but {truths[1]} has shape (3, 4, 6);")


def test_an_image_and_a_truth_of_different_numbers_of_channels_are_named(tmp_path):
    image, truth = write_plain(tmp_path / "image.tif"), write_plain(tmp_path / "truth.tif", n_channels=1)
    with pytest.raises(errors.UserError) as caught:
        plain_layout([image], [truth])
    assert one_line(caught).startswith(f"{truth}: has 1 channel but its image {image} has 2;")


def test_images_of_different_numbers_of_channels_are_named(tmp_path):
    images = [write_plain(tmp_path / "images" / f"{k}.tif", n_channels=k + 1) for k in range(2)]
    truths = [write_plain(tmp_path / "truth" / f"{k}.tif", n_channels=k + 1) for k in range(2)]
    with pytest.raises(errors.UserError) as caught:
        plain_layout(images, truths)
    assert one_line(caught).startswith(f"{images[1]}: has 2 channels but {images[0]} has 1;")


def test_no_voxel_is_read_before_it_is_asked_for(simulated, authors, monkeypatch):
    read = []

    def reading(path, **how):
        read.append(path)
        return read_volume(path, **how)

    monkeypatch.setattr("tfcyclegan3d.stacks.read_volume", reading)
    theirs, own = authors_layout(authors), plain_layout([simulated], [simulated])
    opened = [theirs.open_images(), theirs.open_truths(), own.open_images(), own.open_truths()]
    assert read == []
    assert opened[3][1].name == "truth_001"
    assert stems(read) == ["truth_001"]


def test_a_layout_cannot_be_changed(authors):
    with pytest.raises(dataclasses.FrozenInstanceError):
        authors_layout(authors).axes = "ZYXC"
