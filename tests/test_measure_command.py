"""The command ``measure``, and ``predict --objects``: what they write, say and refuse."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import tfcyclegan3d as tc
from tfcyclegan3d.cli import main as command_line
from tfcyclegan3d.objects.instances import label_objects
from tfcyclegan3d.stored_stacks import read_class_names
from tfcyclegan3d.volumes import Volume, read_volume, write_volume

from .blobs import balls, needs_pyarrow

VOXEL_SIZE = (0.5, 0.25, 0.25)
NUCLEI = [(12, 14, 14), (12, 14, 30), (12, 44, 20), (11, 44, 48)]
GOLGI = [(12, 14, 11), (12, 17, 32), (12, 40, 20), (11, 46, 51)]
SHAPE = (24, 60, 64)


@pytest.fixture(autouse=True)
def _these_commands(monkeypatch):
    monkeypatch.setattr(command_line, "COMMANDS", ("measure", "predict"))


@pytest.fixture(autouse=True)
def _quick_pictures(monkeypatch, request):
    """Write pictures in the one test that looks at them: they take longer than all else."""
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr(
            Figure, "savefig", lambda self, target, **_: target.write_bytes(b"") if isinstance(target, Path) else None
        )


@pytest.fixture
def pictures():
    """Ask for true pictures."""


@pytest.fixture(scope="module")
def labels():
    return np.stack([balls(SHAPE, GOLGI, 4.0), balls(SHAPE, NUCLEI, 8.0)], axis=-1)


@pytest.fixture
def folder(tmp_path, monkeypatch, labels):
    """Stand in a folder with labels, masks and stacks."""
    monkeypatch.chdir(tmp_path)
    write_volume("cells_objects.tif", Volume(labels, VOXEL_SIZE))
    write_volume("cells_mask.tif", Volume(labels > 0, VOXEL_SIZE))
    write_volume("plain.tif", Volume(labels, None))
    write_volume("cells.tif", Volume((labels > 0) * np.uint16(500) + np.uint16(100), VOXEL_SIZE))
    return tmp_path


def run(*arguments: object) -> int:
    try:
        return command_line.main(["measure", *map(str, arguments)])
    except SystemExit as stopped:
        return stopped.code


def refused(capsys, *arguments: object) -> str:
    """Return the one line that a mistake gets."""
    assert run(*arguments) == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    return said


def test_labels_become_tables_pictures_and_naparis_files(folder, capsys, pictures):
    assert run("--labels", "cells_objects.tif", "--images", "cells.tif", "-o", "out", "--quiet") == 0
    said = capsys.readouterr().out
    assert "cells: 4 golgi, 4 nuclei" in said
    assert "4 pairs" in said and "Rayleigh p" in said
    wanted = ["objects.csv", "pairs.csv", "points.csv", "polarity.json", "report.html", "rose.png"]
    wanted += ["vectors.csv", "vectors.png"]
    assert sorted(re.findall(r"NAME_([\w.]+)", said)) == wanted
    assert sorted(path.name for path in (folder / "out").iterdir()) == [f"cells_{ending}" for ending in wanted]
    objects = pd.read_csv("out/cells_objects.csv")
    assert objects["class"].tolist() == ["golgi"] * 4 + ["nuclei"] * 4
    assert objects["mean_golgi"][:4].tolist() == [600] * 4
    pairs = pd.read_csv("out/cells_pairs.csv")
    assert pairs["first_label"].tolist() == pairs["second_label"].tolist() == [1, 2, 3, 4]
    assert json.loads((folder / "out/cells_polarity.json").read_text())["n_pairs"] == 4
    assert (folder / "out/cells_rose.png").read_bytes()[:4] == b"\x89PNG"
    page = (folder / "out/cells_report.html").read_text(encoding="utf-8")
    assert "<li>cells: 4 golgi, 4 nuclei</li>" in page
    sizes = objects[objects["class"] == "nuclei"]["diameter_um"]
    low, middle, high = np.percentile(sizes, (25, 50, 75))
    assert f"<td>nuclei</td><td>4</td><td>0</td><td>{middle:.3g} ({low:.3g} to {high:.3g})</td>" in page
    # Sizes, objects, rose and vectors, all in the page itself.
    pictures = re.findall(r'<img [^>]*src="([^"]*)"', page)
    assert [picture[:22] for picture in pictures] == ["data:image/png;base64,"] * 4
    assert not re.search(r'(href|src)="(?!data:)', page)
    assert "volume, µm³" in page and "e+0" not in re.sub(r"base64,[^\"]*", "", page)


def test_masks_are_numbered_first(folder, labels):
    diameters = ("--object-diameter", "golgi=8,nuclei=16")
    assert run("--prediction", "cells_mask.tif", "-o", "out", *diameters, "--quiet") == 0
    numbers = read_volume("out/cells_objects.tif")
    assert numbers.voxel_size_um == pytest.approx(VOXEL_SIZE)
    for k, diameter in enumerate((8, 16)):
        wanted = label_objects(labels[..., k] > 0, diameter=diameter, spacing=(2, 1, 1))
        np.testing.assert_array_equal(numbers.array[..., k], wanted)
    assert len(pd.read_csv("out/cells_objects.csv")) == numbers.array.max(axis=(0, 1, 2)).sum()


def test_a_valley_that_is_given_parts_objects_as_in_memory(folder, labels):
    mask, counts = labels[..., 1:] > 0, []
    mask |= balls(SHAPE, [(12, 14, 22)], 6.6)[..., np.newaxis] > 0  # A bridge between two of the nuclei.
    write_volume("bridged.tif", Volume(mask))
    for valley in (0.01, 0.5):
        arguments = ("--object-diameter", "nuclei=16", "--valley", valley, "--overwrite", "--quiet")
        assert run("--prediction", "bridged.tif", "-o", "out", *arguments) == 0
        found = read_volume("out/bridged_objects.tif").array[..., 0]
        np.testing.assert_array_equal(found, label_objects(mask[..., 0], diameter=16, valley=valley))
        counts.append(found.max())
    assert counts[0] > counts[1]


def test_the_objects_of_a_zarr_mask_are_a_zarr(folder, labels):
    write_volume("cells_mask.zarr", Volume(labels > 0, VOXEL_SIZE))
    assert run("--prediction", "cells_mask.tif", "-o", "out", "--quiet") == 0
    wanted = read_volume("out/cells_objects.tif")
    assert run("--prediction", "cells_mask.zarr", "-o", "out", "--quiet") == 2
    assert run("--prediction", "cells_mask.zarr", "-o", "out", "--overwrite", "--quiet") == 0
    assert {path.name for path in folder.glob("out/cells_objects.*")} == {"cells_objects.zarr", "cells_objects.csv"}
    found = read_volume("out/cells_objects.zarr")
    np.testing.assert_array_equal(found.array, wanted.array)
    assert found.voxel_size_um == pytest.approx(VOXEL_SIZE)
    assert run("--prediction", "cells_mask.tif", "-o", "out", "--overwrite", "--quiet") == 0
    assert not (folder / "out/cells_objects.zarr").exists()


def test_a_folder_means_its_masks_or_its_labels(folder):
    assert run("--prediction", ".", "-o", "masks", "--quiet") == 0
    assert run("--labels", ".", "-o", "labels", "--quiet") == 0
    assert {path.name.split("_")[0] for path in folder.glob("[ml]a*/*")} == {"cells"}


def test_stacks_that_would_meet_the_image_of_another_are_refused(folder, capsys, labels):
    for name in ("masks", "images"):
        (folder / name).mkdir()
    for name in ("a", "b"):
        write_volume(f"masks/{name}_probability.tif", Volume(labels > 0))
    for name in ("b", "c"):
        write_volume(f"images/stack_{name}.tif", Volume(labels))
    said = refused(capsys, "--prediction", "masks", "--images", "images", "-o", "out")
    assert "a_probability.tif would be paired with stack_b.tif" in said
    assert not (folder / "out").exists()
    (folder / "images/stack_c.tif").rename("images/stack_a.tif")
    assert run("--prediction", "masks", "--images", "images", "-o", "out", "--quiet") == 0


def test_parquet_is_written_where_it_is_asked_for(folder):
    needs_pyarrow()
    assert run("--labels", "plain.tif", "-o", "out", "--format", "parquet", "--quiet") == 0
    assert len(pd.read_parquet("out/plain_objects.parquet")) == 8
    assert len(pd.read_parquet("out/plain_pairs.parquet")) == 4


def test_without_a_voxel_size_lengths_are_in_voxels_and_it_says_so(folder, capsys):
    assert run("--labels", "plain.tif", "-o", "out", "--quiet") == 0
    assert "lengths in voxels, as the voxel size is not known (--voxel-size)" in capsys.readouterr().out
    assert "volume_voxels" in pd.read_csv("out/plain_objects.csv").columns
    assert "<th>volume, voxels</th>" in (folder / "out/plain_report.html").read_text("utf-8")
    assert run("--labels", "plain.tif", "-o", "known", "--voxel-size", "0.5,0.25,0.25", "--quiet") == 0
    assert "volume_um3" in pd.read_csv("known/plain_objects.csv").columns


def test_the_greatest_distance_is_in_the_tables_unit(folder):
    assert run("--labels", "cells_objects.tif", "-o", "out", "--max-distance", "0.8um", "--quiet") == 0
    assert pd.read_csv("out/cells_pairs.csv")["first_label"].tolist() == [1]


def test_empty_masks_give_empty_tables_with_their_columns(folder, capsys):
    write_volume("empty_mask.tif", Volume(np.zeros((5, 9, 8, 2), bool)))
    assert run("--prediction", "empty_mask.tif", "-o", "out", "--quiet") == 0
    assert "empty: 0 golgi, 0 nuclei" in capsys.readouterr().out
    objects = pd.read_csv("out/empty_objects.csv")
    assert len(objects) == 0
    assert "volume_voxels" in objects.columns
    assert "length_voxels" in pd.read_csv("out/empty_pairs.csv").columns
    assert json.loads((folder / "out/empty_polarity.json").read_text())["p_value"] is None
    assert "<td>golgi</td><td>0</td><td>0</td><td>–</td>" in (folder / "out/empty_report.html").read_text("utf-8")


def test_one_class_has_no_pairs_unless_they_are_asked_for(folder, capsys, labels):
    write_volume("one.tif", Volume(labels[..., 1], VOXEL_SIZE))
    assert run("--labels", "one.tif", "-o", "out", "--quiet") == 0
    assert not list(folder.glob("out/*pairs*"))
    assert (
        capsys.readouterr().out.splitlines()[-1]
        == "out: NAME_objects.csv, NAME_points.csv for napari, NAME_report.html"
    )
    said = refused(capsys, "--labels", "one.tif", "-o", "again", "--pairs", "nuclei,golgi")
    assert "the only class is nuclei" in said
    assert "--max-distance" in refused(capsys, "--labels", "one.tif", "-o", "again", "--max-distance", "3")
    assert not (folder / "again").exists()


def test_one_giant_blob_is_one_object(folder):
    write_volume("blob_mask.tif", Volume(np.pad(np.ones((20, 50, 50), bool), 3)[..., np.newaxis], VOXEL_SIZE))
    assert run("--prediction", "blob_mask.tif", "-o", "out", "--object-diameter", "nuclei=8", "--quiet") == 0
    assert len(pd.read_csv("out/blob_objects.csv")) == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--labels", "missing.tif"], "missing.tif: no such file"),
        (["--labels", "cells_objects.tif", "--images", "."], "give one for each"),
        (["--labels", "cells_objects.tif", "--images", "small.tif"], "(6, 7, 8)"),
        (["--labels", "cells_objects.tif", "--classes", "a,b,c"], "name one class for each channel"),
        (["--labels", "cells_objects.tif", "--object-diameter", "nuclei=8"], "leave it out with --labels"),
        (["--labels", "cells_objects.tif", "--threshold", "0.7"], "leave it out with --labels"),
        (["--labels", "cells_objects.tif", "--pairs", "nuclei"], "name two classes"),
        (["--labels", "cells_objects.tif", "--pairs", "nuclei,er"], "the classes are golgi, nuclei"),
        (["--labels", "cells_objects.tif", "--max-distance", "near"], "give a length above 0"),
        (["--labels", "plain.tif", "--max-distance", "3um"], "without um"),
        (["--labels", "noise.tif"], "instance numbers"),
        (["--prediction", "noise.tif"], "no probabilities"),
        (["--prediction", "cells_objects.tif"], "--labels"),
        (["--prediction", "cells_mask.tif", "--threshold", "2"], "between 0 and 1"),
        (["--prediction", "cells_mask.tif", "--object-diameter", "er=8"], "the classes are golgi, nuclei"),
        (["--labels", "cells_objects.tif", "--prediction", "cells_mask.tif"], "not allowed with"),
        (["--labels", "cells_objects.tif", "--valley", "0.05"], "add --prediction"),
        (["--prediction", "cells_mask.tif", "--valley", "1"], "at least 0 and less than 1"),
        ([], "required"),
    ],
)
def test_mistakes_get_one_line_and_leave_nothing(folder, capsys, arguments, reason):
    write_volume("small.tif", Volume(np.zeros((6, 7, 8, 2), np.uint8)))
    write_volume("noise.tif", Volume(np.random.default_rng(0).normal(size=(6, 7, 8, 2)).astype(np.float32)))
    assert reason in refused(capsys, *arguments, "-o", "out")
    assert not (folder / "out").exists()


def test_an_image_in_place_of_numbers_is_measured_with_a_warning_that_names_it(folder, caplog):
    noise = np.random.default_rng(0).integers(0, 200, (12, 16, 18, 1)).astype(np.uint8)
    write_volume("image.tif", Volume(noise))
    write_volume("image.zarr", Volume(noise))
    for name in ("image.tif", "image.zarr"):
        assert run("--labels", name, "-o", "out", "--overwrite", "--quiet") == 0
        assert [one.getMessage().partition(", not")[0] for one in caplog.records] == [
            f"warning: {name}: looks like an image"
        ]
        caplog.clear()
    assert run("--labels", "cells_objects.tif", "-o", "out", "--quiet") == 0
    assert run("--prediction", "cells_mask.tif", "-o", "out-2", "--quiet") == 0
    assert not caplog.records


@pytest.mark.parametrize("ending", ["tif", "zarr"])
def test_classes_are_those_that_the_file_names(folder, labels, capsys, ending):
    """The first channel is called nuclei here, which nobody would guess."""
    names, numbers = ("nuclei", "golgi"), labels[..., [1, 0]]
    write_volume(f"named_objects.{ending}", Volume(numbers, VOXEL_SIZE), class_names=names)
    write_volume(f"named_mask.{ending}", Volume(numbers > 0, VOXEL_SIZE), class_names=names)
    for k, given in enumerate((("--labels", f"named_objects.{ending}"), ("--prediction", f"named_mask.{ending}"))):
        assert run(*given, "-o", f"out{k}", "--quiet") == 0
        assert "named: 4 nuclei, 4 golgi" in capsys.readouterr().out
        assert json.loads((folder / f"out{k}/named_polarity.json").read_text())["first"] == "nuclei"
    assert read_class_names(f"out1/named_objects.{ending}", 2) == names
    assert run("--labels", f"named_objects.{ending}", "-o", "out2", "--classes", "er,golgi", "--quiet") == 0
    assert "named: 4 er, 4 golgi" in capsys.readouterr().out


def test_classes_that_nobody_named_are_said_once(folder, labels, caplog):
    write_volume("more.tif", Volume(labels, VOXEL_SIZE))
    write_volume("named.tif", Volume(labels, VOXEL_SIZE), class_names=("nuclei", "golgi"))
    write_volume("one.tif", Volume(labels[..., :1], VOXEL_SIZE))
    said = "channel 0 is taken for golgi, channel 1 for nuclei; --classes changes it"
    cases = ((("plain.tif", "more.tif"), 1), (("named.tif", "one.tif"), 0), (("plain.tif", "--classes", "a,b"), 0))
    for k, (given, n_said) in enumerate(cases):
        caplog.clear()
        assert run("--labels", *given, "-o", f"out{k}") == 0
        assert [one.getMessage() for one in caplog.records] == [said] * n_said


def test_a_single_class_is_what_its_file_names(folder, labels, capsys):
    write_volume("one_objects.tif", Volume(labels[..., :1], VOXEL_SIZE), class_names=["golgi"])
    assert run("--labels", "one_objects.tif", "-o", "out", "--quiet") == 0
    assert "one: 4 golgi" in capsys.readouterr().out


def test_nothing_existing_is_replaced_without_being_asked(folder, capsys):
    assert run("--labels", "cells_objects.tif", "-o", "out", "--quiet") == 0
    before = (folder / "out/cells_objects.csv").read_bytes()
    assert "exists already" in refused(capsys, "--labels", "cells_objects.tif", "-o", "out")
    assert run("--labels", "cells_objects.tif", "-o", "out", "--voxel-size", "1,1,1", "--overwrite", "--quiet") == 0
    assert (folder / "out/cells_objects.csv").read_bytes() != before


def test_what_simulate_wrote_is_measured_as_it_was_drawn(tmp_path):
    stack = tc.simulate_stack((24, 64, 64), seed=2)
    found = tc.analyse(stack.truth.objects)
    drawn = {(one.class_name, one.number): one.n_voxels for one in stack.truth.scene.table}
    rows = found.objects.itertuples()
    assert {(row[1], row.label): row.n_voxels for row in rows} == drawn
    assert (found.pairs["first_label"] == found.pairs["second_label"]).mean() > 0.9


def test_the_picture_of_objects_shows_the_first_along_z(tmp_path):
    from tfcyclegan3d.objects.figures import numbers_beside, seen_from_above
    from tfcyclegan3d.sources import open_source

    labels = np.zeros((6, 8, 10, 1), np.uint16)
    labels[4:, 1:7, 1:9] = 2
    labels[1:3, 2:4, 2:4] = 1
    seen, step = seen_from_above(open_source(Volume(labels)))
    assert step == 1
    assert (seen[2:4, 2:4] == 1).all() and (seen == 2).sum() == 6 * 8 - 4 and (seen == 0).sum() == 80 - 48
    shown = numbers_beside(seen, ["nuclei"]).axes[0].images[0].get_array()
    colours = {tuple(np.round(shown[y, x], 3)) for y, x in ((0, 0), (2, 2), (5, 5))}
    assert (0, 0, 0) in colours and (1, 1, 1) in colours and len(colours) == 3
