"""Zarr stacks that lack chunks are refused by every command, and taken as empty there on request."""

from __future__ import annotations

import numpy as np
import pytest

from tfcyclegan3d import errors
from tfcyclegan3d.cli.main import main
from tfcyclegan3d.experiments.data_layout import plain_layout
from tfcyclegan3d.stacks import Stacks
from tfcyclegan3d.volumes import Volume, write_volume

from .zarr_files import write_image


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Stand in a folder with a stack that lacks its last chunk, and a whole truth of it."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    write_image(tmp_path / "gap.zarr", rng.integers(100, 200, (2, 8, 24, 32)).astype(np.uint16))
    max(path for path in (tmp_path / "gap.zarr" / "0" / "c").rglob("*") if path.is_file()).unlink()
    write_volume(tmp_path / "truth_gap.tif", Volume(rng.uniform(size=(8, 24, 32, 2)) > 0.9))
    return tmp_path


COMMANDS = {
    "train": ("train", "--images", "gap.zarr", "--epochs", "1", "--preset", "fast", "--set", "synthesis.n_masks=1"),
    "train with truth": ("train", "--images", "gap.zarr", "--method", "unet", "--truth", "truth_gap.tif"),
    "synthesize": ("synthesize", "--like", "gap.zarr", "--object-diameter", "golgi=3,nuclei=5"),
    "crossval": (
        *("crossval", "--images", "gap.zarr", "gap.zarr", "--truth", "truth_gap.tif", "truth_gap.tif"),
        *("--methods", "otsu"),
    ),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_reads_stacks_names_a_chunk_that_is_missing(here, capsys, command):
    assert main([*COMMANDS[command], "-o", "out", "--quiet"]) == 2
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    assert "gap.zarr" in said
    assert "--missing-chunks fill" in said
    assert not (here / "out").exists()


def test_masks_are_drawn_like_a_stack_whose_missing_chunks_are_filled(here):
    assert main([*COMMANDS["synthesize"], "-o", "out", "--quiet", "--missing-chunks", "fill"]) == 0
    assert (here / "out" / "mask_000.tif").is_file()


def test_of_stacks_and_of_pairs_missing_chunks_are_nought_where_that_is_asked_for(here):
    with pytest.raises(errors.UnreadableFileError, match="missing"):
        Stacks(["gap.zarr"])
    filled = Stacks(["gap.zarr"], allow_missing_chunks=True)[0].array
    pairs = plain_layout(["gap.zarr"], ["truth_gap.tif"], allow_missing_chunks=True)
    assert (filled[4:, 12:, 16:, 1] == 0).all()
    assert filled[:4].min() >= 100
    np.testing.assert_array_equal(pairs.open_images()[0].array, filled)
