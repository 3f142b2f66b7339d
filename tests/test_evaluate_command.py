"""The command ``evaluate``: which files it pairs, what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tfcyclegan3d.cli import main as command_line
from tfcyclegan3d.evaluation.objects import evaluate_objects, mean_objects
from tfcyclegan3d.evaluation.overlap import evaluate
from tfcyclegan3d.volumes import Volume, write_volume


@pytest.fixture(autouse=True)
def _only_this_command(monkeypatch):
    monkeypatch.setattr(command_line, "COMMANDS", ("evaluate",))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: object) -> int:
    return command_line.main(["evaluate", *map(str, arguments)])


def masks(seed: int, n_channels: int = 2, shape: tuple[int, int, int] = (4, 9, 8)) -> np.ndarray:
    """Draw random masks, ZYXC of bool."""
    return np.random.default_rng(seed).random((*shape, n_channels)) > 0.6


def write(path, mask: np.ndarray, value: int = 255) -> np.ndarray:
    """Write masks ZYXC as ZCYX and return them."""
    path.parent.mkdir(exist_ok=True)
    values = (np.moveaxis(mask, -1, 1) * value).astype(np.uint8)
    tifffile.imwrite(path, values, imagej=True, metadata={"axes": "ZCYX"})
    return mask


def scores_of(prediction: np.ndarray, truth: np.ndarray) -> dict[str, dict[str, float]]:
    """Return what the JSON file should hold for a pair."""
    return {
        name: {"dice": score.dice, "precision": score.precision, "recall": score.recall}
        for name, score in evaluate(prediction, truth).items()
    }


def test_the_json_file_holds_the_scores_of_each_stack_and_their_means(folder):
    pairs = [(write(folder / f"p{k}.tif", masks(k)), write(folder / f"t{k}.tif", masks(k + 9), 1)) for k in range(3)]
    assert run("--prediction", "p0.tif", "p1.tif", "p2.tif", "--truth", "t*.tif", "--json", "scores.json") == 0
    stacks = [scores_of(*pair) for pair in pairs]
    means = {
        name: {
            figure: pytest.approx(np.mean([stack[name][figure] for stack in stacks]))
            for figure in ("dice", "precision", "recall")
        }
        for name in ("golgi", "nuclei")
    }
    assert json.loads((folder / "scores.json").read_text()) == {
        "classes": means,
        "stacks": [{"prediction": f"p{k}.tif", "truth": f"t{k}.tif", "classes": stacks[k]} for k in range(3)],
    }
    assert sorted(path.name for path in folder.iterdir() if path.suffix != ".tif") == ["scores.json"]


def test_files_are_paired_in_the_order_given_even_where_one_is_given_twice(folder):
    write(folder / "one.tif", masks(1))
    write(folder / "two.tif", masks(2))
    assert run("--prediction", "two.tif", "one.tif", "--truth", "two.tif", "two.tif", "--json", "scores.json") == 0
    stacks = json.loads((folder / "scores.json").read_text())["stacks"]
    names = [(stack["prediction"], stack["truth"]) for stack in stacks]
    assert names == [("two.tif", "two.tif"), ("one.tif", "two.tif")]
    assert stacks[0]["classes"]["golgi"]["dice"] == 1 > stacks[1]["classes"]["golgi"]["dice"]


def test_the_table_of_one_stack_has_a_row_per_class_under_aligned_headings(folder, capsys):
    truth = write(folder / "t.tif", masks(1))
    truth[..., 0] = False
    write(folder / "p.tif", truth)
    assert run("--prediction", "p.tif", "--truth", "t.tif") == 0
    assert capsys.readouterr().out.splitlines() == [
        "class     Dice  precision  recall",
        "golgi   0.0000     0.0000  0.0000",
        "nuclei  1.0000     1.0000  1.0000",
    ]


def test_the_table_of_several_stacks_ends_with_their_means(folder, capsys):
    for name in ("a", "x", "y"):
        write(folder / f"{name}.tif", masks(1, 1))
    write(folder / "none.tif", np.zeros((4, 9, 8, 1), bool))
    assert run("--prediction", "a.tif", "none.tif", "--truth", "x.tif", "y.tif", "--quiet") == 0
    assert capsys.readouterr().out.splitlines() == [
        "stack      class     Dice  precision  recall",
        "a.tif      nuclei  1.0000     1.0000  1.0000",
        "none.tif   nuclei  0.0000     0.0000  0.0000",
        "mean of 2  nuclei  0.5000     0.5000  0.5000",
    ]


def test_of_a_folder_of_predictions_only_the_masks_are_taken_and_of_a_simulated_one_only_the_truth(folder):
    for k in range(2):
        write(folder / "out" / f"s{k}_mask.tif", masks(k))
        write(folder / "out" / f"s{k}_probability.tif", masks(k + 5))
        write(folder / "sim" / f"stack_00{k}.tif", masks(k + 6))
        write(folder / "sim" / f"truth_00{k}.tif", masks(k))
    assert run("--prediction", "out", "--truth", "sim", "--json", "scores.json") == 0
    content = json.loads((folder / "scores.json").read_text())
    assert [stack["prediction"] for stack in content["stacks"]] == ["s0_mask.tif", "s1_mask.tif"]
    assert [stack["truth"] for stack in content["stacks"]] == ["truth_000.tif", "truth_001.tif"]
    assert content["classes"]["nuclei"] == {"dice": 1, "precision": 1, "recall": 1}


def test_of_folders_that_synthesize_wrote_only_the_masks_are_taken(folder):
    for name in ("one", "two"):
        write(folder / name / "mask_000.tif", masks(1))
        write(folder / name / "objects_000.tif", masks(2), 7)
    assert run("--prediction", "one", "--truth", "two", "--json", "scores.json") == 0
    (stack,) = json.loads((folder / "scores.json").read_text())["stacks"]
    assert (stack["prediction"], stack["truth"]) == ("mask_000.tif", "mask_000.tif")
    assert run("--prediction", "one", "--truth", "two", "--objects", "--json", "objects.json") == 0
    (stack,) = json.loads((folder / "objects.json").read_text())["stacks"]
    assert (stack["prediction"], stack["truth"]) == ("objects_000.tif", "objects_000.tif")


def test_predictions_that_would_meet_the_truth_of_another_are_refused(folder, capsys):
    for k, name in enumerate("abc"):
        write(folder / "out" / f"{name}_mask.tif", masks(k))
        write(folder / "out" / f"{name}_objects.tif", masks(k), k + 1)
        write(folder / "sim" / f"truth_{name}.tif", masks(k))
        write(folder / "sim" / f"objects_{name}.tif", masks(k), k + 1)
    for options in ((), ("--objects",)):
        assert run("--prediction", "out", "--truth", "sim", *options) == 0
    capsys.readouterr()
    for kind in ("mask", "objects"):
        (folder / "out" / f"c_{kind}.tif").unlink()
    for kind in ("truth", "objects"):
        (folder / "sim" / f"{kind}_a.tif").unlink()
    for options in ((), ("--objects",)):
        assert run("--prediction", "out", "--truth", "sim", "--json", "scores.json", *options) == 2
        printed = capsys.readouterr()
        ours, theirs = ("a_objects.tif", "objects_b.tif") if options else ("a_mask.tif", "truth_b.tif")
        assert f"{ours} would be paired with {theirs}" in printed.err
        assert printed.err.count("\n") == 1 and not printed.out
    assert not (folder / "scores.json").exists()


def test_classes_can_be_named(folder):
    write(folder / "a.tif", masks(1))
    assert run("--prediction", "a.tif", "--truth", "a.tif", "--classes", "er, lysosomes", "--json", "s.json") == 0
    assert list(json.loads((folder / "s.json").read_text())["classes"]) == ["er", "lysosomes"]


def scored(*arguments: object) -> list[str]:
    """Return the classes that were scored."""
    assert run(*arguments, "--json", "s.json", "--overwrite", "--quiet") == 0
    return list(json.loads(Path("s.json").read_text())["classes"])


@pytest.mark.parametrize("ending", ["tif", "zarr"])
def test_classes_are_those_that_the_files_name(folder, ending):
    truth = write(folder / "t.tif", masks(1))
    write_volume(f"p.{ending}", Volume(truth), class_names=("nuclei", "golgi"))
    write_volume("named.tif", Volume(truth), class_names=("nuclei", "golgi"))
    given = ("--prediction", f"p.{ending}", "--truth")
    assert scored(*given, "t.tif") == ["nuclei", "golgi"]
    assert scored(*given, "named.tif") == ["nuclei", "golgi"]
    assert scored(*given, "named.tif", "--classes", "er,golgi") == ["er", "golgi"]
    assert scored("--prediction", "t.tif", "--truth", "named.tif") == ["nuclei", "golgi"]
    assert scored("--prediction", "t.tif", "--truth", "t.tif") == ["golgi", "nuclei"]
    assert scored("--prediction", "t.tif", f"p.{ending}", "--truth", "t.tif", "t.tif") == ["nuclei", "golgi"]


def test_a_single_class_is_what_its_file_names(folder):
    write_volume("p.tif", Volume(write(folder / "t.tif", masks(1, 1))), class_names=["golgi"])
    assert scored("--prediction", "p.tif", "--truth", "t.tif") == ["golgi"]


def test_a_prediction_and_a_truth_of_other_classes_are_refused_unless_classes_are_given(folder, capsys):
    mask = Volume(masks(1))
    write_volume("p.tif", mask, class_names=("nuclei", "golgi"))
    write_volume("t.tif", mask, class_names=("golgi", "nuclei"))
    given = ("--prediction", "p.tif", "--truth", "t.tif")
    assert run(*given) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "p.tif of nuclei,golgi and t.tif of golgi,nuclei" in said
    assert scored(*given, "--classes", "a,b") == ["a", "b"]


def test_the_truth_can_have_axes_of_its_own(folder):
    mask = masks(1)
    tifffile.imwrite(folder / "p.tif", np.moveaxis(mask, -1, 1).astype(np.uint8))
    tifffile.imwrite(folder / "t.tif", mask.transpose(1, 2, 0, 3).astype(np.uint8), photometric="minisblack")
    options = ("--prediction", "p.tif", "--truth", "t.tif", "--axes", "ZCYX")
    assert run(*options, "--truth-axes", "YXZC", "--json", "scores.json") == 0
    assert json.loads((folder / "scores.json").read_text())["classes"]["golgi"]["dice"] == 1
    assert run(*options) == 2


def test_an_existing_json_file_is_only_replaced_when_asked(folder, capsys):
    write(folder / "a.tif", masks(1))
    (folder / "scores.json").write_text("kept")
    options = ("--prediction", "a.tif", "--truth", "a.tif", "--json", "scores.json")
    assert run(*options) == 2
    assert "scores.json" in capsys.readouterr().err
    assert (folder / "scores.json").read_text() == "kept"
    assert run(*options, "--overwrite") == 0
    assert "classes" in json.loads((folder / "scores.json").read_text())


def test_a_folder_is_never_replaced_by_the_json_file(folder):
    write(folder / "keep" / "a.tif", masks(1))
    assert run("--prediction", "keep", "--truth", "keep", "--json", "keep", "--overwrite") == 2
    assert (folder / "keep" / "a.tif").exists()


def test_a_failure_leaves_no_json_file_and_no_folder_behind(folder):
    write(folder / "p.tif", masks(1))
    write(folder / "t.tif", masks(1, shape=(4, 9, 9)))
    assert run("--prediction", "p.tif", "--truth", "t.tif", "--json", "new/scores.json") == 2
    assert sorted(path.name for path in folder.iterdir()) == ["p.tif", "t.tif"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--prediction", "a.tif", "b.tif", "--truth", "a.tif"), "2 and 1 stacks"),
        (("--prediction", "a.tif", "--truth", "missing.tif"), "missing.tif: no such"),
        (("--prediction", "a.tif", "--truth", "wide.tif"), "(4, 9, 9)"),
        (("--prediction", "a.tif", "--truth", "one.tif"), "2 channels"),
        (("--prediction", "a.tif", "one.tif", "--truth", "a.tif", "one.tif"), "the stacks before it have 2"),
        (("--prediction", "a.tif", "--truth", "a.tif", "--classes", "er"), "1 class is named: er"),
        (("--prediction", "a.tif", "--truth", "a.tif", "--classes", "er,"), "'er,'"),
        (("--prediction", "a.tif", "--truth", "a.tif", "--classes", "er,er"), "'er,er'"),
        (("--prediction", "a.tif", "--truth", "a.tif", "--truth-axes", "ZYX"), "ZYX"),
        (("--prediction", "a.tif", "--truth", "grey.tif"), "truth grey"),
        (("--prediction", "a.tif", "--truth", "broken.tif"), "broken.tif"),
    ],
)
def test_a_mistake_is_one_line_that_names_it_and_exit_status_2(folder, capsys, options, said):
    for name, mask in {"a": masks(1), "b": masks(2), "one": masks(1, 1), "wide": masks(1, shape=(4, 9, 9))}.items():
        write(folder / f"{name}.tif", mask)
    grey = np.linspace(0, 90, 4 * 2 * 9 * 8, dtype=np.float32).reshape(4, 2, 9, 8)
    tifffile.imwrite(folder / "grey.tif", grey, imagej=True, metadata={"axes": "ZCYX"})
    (folder / "broken.tif").write_bytes(b"II*\0")
    assert run(*options) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("options", [("--prediction", "a.tif"), ("--truth", "a.tif"), ("--prediction", "--truth", "a")])
def test_both_sides_must_be_given(options, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(*options)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_image_in_place_of_a_mask_is_scored_with_a_warning_that_names_it(folder, caplog):
    write(folder / "t.tif", masks(1))
    image = np.random.default_rng(0).integers(0, 4000, (4, 2, 9, 8)).astype(np.uint16)
    tifffile.imwrite(folder / "p.tif", image, imagej=True, metadata={"axes": "ZCYX"})
    for given in (("p.tif", "t.tif"), ("t.tif", "p.tif")):
        assert run("--prediction", given[0], "--truth", given[1], "--quiet") == 0
        assert [one.getMessage().partition(", not")[0] for one in caplog.records] == [
            "warning: p.tif: looks like an image"
        ]
        caplog.clear()
    assert run("--prediction", "t.tif", "--truth", "t.tif") == 0
    assert not caplog.records


def write_labels(path, labels: np.ndarray) -> np.ndarray:
    """Write labels ZYX and return them."""
    path.parent.mkdir(exist_ok=True)
    tifffile.imwrite(path, labels.astype(np.uint16), imagej=True, metadata={"axes": "ZYX"})
    return labels


def test_objects_are_scored_beside_voxels_with_means_over_stacks(folder, capsys):
    pairs = []
    for k in range(2):
        true = np.zeros((2, 8, 8), int)
        true[:, :3, :3], true[:, 5:, 5:], true[:, :3, 5:] = 1, 2, 3
        predicted = np.where(true == k + 1, 0, true)
        write_labels(folder / "out" / f"s{k}_objects.tif", predicted)
        write(folder / "out" / f"s{k}_mask.tif", masks(k, 1))
        write_labels(folder / "sim" / f"objects_00{k}.tif", true)
        write(folder / "sim" / f"truth_00{k}.tif", masks(k, 1))
        pairs.append((predicted, true))
    assert run("--prediction", "out", "--truth", "sim", "--objects", "--json", "s.json") == 0
    content = json.loads((folder / "s.json").read_text())
    assert [stack["prediction"] for stack in content["stacks"]] == ["s0_objects.tif", "s1_objects.tif"]
    assert [stack["truth"] for stack in content["stacks"]] == ["objects_000.tif", "objects_001.tif"]
    expected = [evaluate_objects(*pair)["nuclei"] for pair in pairs]
    for stack, one in zip(content["stacks"], expected, strict=True):
        assert stack["classes"]["nuclei"]["objects"] == one.to_dict()
    assert content["classes"]["nuclei"]["objects"] == mean_objects(expected).to_dict()
    assert content["classes"]["nuclei"]["objects"]["iou_0.5"]["f1"] == pytest.approx(0.8)
    assert content["classes"]["nuclei"]["dice"] == pytest.approx(0.8)
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-2].split() == (
        ["mean", "of", "2", "nuclei", "2", "3", "0.8000", "0.8000", "0.6667", "0.6667", "0.8000", "0", "0"]
    )
    assert "mask" not in printed.err


def test_the_objects_of_masks_are_their_connected_parts_which_is_said(folder, caplog):
    mask = np.zeros((2, 8, 8, 1), bool)
    mask[:, :3, :3] = mask[:, 5:, 5:] = True
    write(folder / "out" / "s_mask.tif", mask)
    write(folder / "sim" / "truth_000.tif", mask)
    assert run("--prediction", "out", "--truth", "sim", "--objects", "--json", "s.json") == 0
    objects = json.loads((folder / "s.json").read_text())["classes"]["nuclei"]["objects"]
    assert (objects["n_predicted"], objects["n_true"], objects["iou_0.75"]["f1"]) == (2, 2, 1)
    parts = "holds a mask and no instance numbers; its connected parts were taken for objects"
    assert caplog.messages == [f"out/s_mask.tif: {parts}", f"sim/truth_000.tif: {parts}"]


def test_probabilities_are_no_objects(folder, capsys):
    tifffile.imwrite(folder / "p.tif", np.random.default_rng(1).random((2, 8, 8)).astype(np.float32))
    write_labels(folder / "t.tif", np.ones((2, 8, 8), int))
    assert run("--prediction", "p.tif", "--truth", "t.tif", "--axes", "ZYX", "--objects", "--json", "s.json") == 2
    assert "whole numbers" in capsys.readouterr().err
    assert not (folder / "s.json").exists()
