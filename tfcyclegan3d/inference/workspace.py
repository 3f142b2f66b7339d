"""A stack's prediction on its way to a file: what is settled, and the blocks made so far, in a folder of its own.

Blocks are written in any order, by any number of processes, and noted once they are whole. Whoever is stopped, by
whatever, goes on behind the last one noted.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfcyclegan3d import errors
from tfcyclegan3d.colours import stack_colours
from tfcyclegan3d.inference.blocks import BlockPlan
from tfcyclegan3d.inference.prediction import Settled
from tfcyclegan3d.models.frozen import flattened, unflattened
from tfcyclegan3d.objects.instances import VALLEY
from tfcyclegan3d.sources import Source, open_source
from tfcyclegan3d.tiling import Tile
from tfcyclegan3d.volumes import Grid
from tfcyclegan3d.zarrs.writing import create_zarr, open_to_write, write_box

if TYPE_CHECKING:
    from tfcyclegan3d.inference.predictor import SegmentationModel

MASK, PROBABILITY, CENTRES, GRADES, OBJECTS = "mask", "probability", "centres", "grades", "objects"
SHARES = "shares.json"
# Bytes of all chunks along Y and X of one layer of chunks, which a TIFF file is written from.
LAYER_BYTES = 2**27


@dataclass(frozen=True)
class Job:
    """One stack to segment.

    Parameters
    ----------
    model : str
        Run folder or exported model, an absolute path.
    changes : dict
        Settings that differ from the model's, by dotted key.
    image : str
        The stack, an absolute path.
    reading : dict
        How to read it (``axes``, ``channels``, ``voxel_size_um``, ``allow_missing_chunks``).
    fingerprint : list
        Of model and stack; another one makes it another job.
    name : str
        Of the stack.
    threshold : float
        Probability above which a voxel is part of an object.
    probabilities : bool
        Whether these are kept, too.
    centres : bool
        Whether the workspace is to hold the centres of objects, too, for whoever tells objects apart by them; they are
        no output.
    tile : tuple of int, optional
        What no tile exceeds.
    objects : dict, optional
        Number the objects, too, with these diameters by class, as ``--object-diameter`` takes them; the model's or
        estimated ones for the others.
    valley : float
        How deep a valley parts two objects, as `label_objects` takes it.
    suffix : {".tif", ".zarr"}
        Of the outputs.
    check_seams : bool
        Whether a picture of seams is one of them.
    """

    model: str
    changes: dict[str, Any]
    image: str
    reading: dict[str, Any]
    fingerprint: list[Any]
    name: str
    threshold: float
    probabilities: bool = False
    centres: bool = False
    tile: tuple[int, int, int] | None = None
    objects: dict[str, Any] | None = None
    valley: float = VALLEY
    suffix: str = ".tif"
    check_seams: bool = False

    def open(self, scratch_folder: Path) -> Source:
        """Open the stack."""
        return open_source(self.image, **self.reading, scratch_folder=scratch_folder)


class Workspace:
    """The folder of one job.

    Parameters
    ----------
    folder : Path
        Of its own; made by ``begin``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._levels: dict[str, Any] = {}

    def begin(self, job: Job, settled: Settled, model: SegmentationModel, grid: Grid) -> None:
        """Put what is settled, and arrays without a chunk, into the folder, in place of what is there.

        Raises
        ------
        OutputError
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        plan, factors = settled.plan, model.config.preprocessing.downsampling
        with errors.writing(self.folder):
            (self.folder / "done").mkdir(parents=True)
            np.savez(self.folder / "settled.npz", bounds=settled.bounds, **flattened(settled.statistics or {}))
        for kind, dtype in _kinds(job).items():
            create_zarr(
                self.folder / f"{kind}.zarr",
                (*grid.shape, grid.n_channels),
                dtype,
                chunk_shape(plan, factors, grid.shape, grid.n_channels * np.dtype(dtype).itemsize),
                voxel_size_um=grid.voxel_size_um,
                name=f"{grid.name}_{kind}",
                channel_names=model.classes,
                colours=stack_colours(model.classes),
            )
        # Last of all: a folder with it is whole.
        with errors.writing(self.folder):
            unfinished = self.folder / "job.json.unfinished"
            unfinished.write_text(json.dumps({"job": _plain(job), "tile_shape": plan.tile_shape}))
            unfinished.replace(self.folder / "job.json")

    def is_of(self, job: Job) -> bool:
        """Tell whether the folder is a whole one that was begun for just this job."""
        try:
            alike = json.loads((self.folder / "job.json").read_text())["job"] == _plain(job)
        except (OSError, ValueError, KeyError):
            return False
        done = (self.folder / SHARES).is_file()
        return alike and (done or all((self.folder / f"{kind}.zarr").is_dir() for kind in _kinds(job)))

    def settled(self, model: SegmentationModel, shape: tuple[int, int, int]) -> Settled:
        """Return what was settled of a stack of ``shape``; the same tiles give the same blocks."""
        tile_shape = json.loads((self.folder / "job.json").read_text())["tile_shape"]
        with np.load(self.folder / "settled.npz") as arrays:
            found = dict(arrays)
        bounds = found.pop("bounds")
        return Settled(bounds, unflattened(found) or None, model.plan(model.coarse_shape(shape), tile_shape))

    def remaining(self, plan: BlockPlan) -> list[int]:
        """Return the numbers of the blocks that are not noted yet, in order."""
        done = {int(mark.name) for mark in (self.folder / "done").iterdir() if mark.name.isdecimal()}
        return [number for number in range(len(plan.blocks)) if number not in done]

    def holds_work(self) -> bool:
        """Tell whether any block is made, or the stack finished."""
        return (self.folder / SHARES).is_file() or any((self.folder / "done").glob("*"))

    def write(self, kind: str, place: Tile, values: np.ndarray) -> None:
        """Write a block's voxels, ZYXC."""
        write_box(self.level(kind), place.slices, values)

    def note(self, number: int) -> None:
        """Note that a block is whole."""
        with errors.writing(self.folder):
            (self.folder / "done" / str(number)).touch()

    def level(self, kind: str) -> Any:
        """Return the array (CZYX) of masks, probabilities, centres or grades."""
        if kind not in self._levels:
            self._levels[kind] = open_to_write(self.folder / f"{kind}.zarr")
        return self._levels[kind]

    def abandon(self) -> None:
        """Let nobody go on with the job: who makes blocks of it stops behind the one in hand."""
        with contextlib.suppress(OSError):
            (self.folder / "job.json").replace(self.folder / "job.json.abandoned")

    def take_up(self) -> None:
        """Let the job that was abandoned be gone on with."""
        with contextlib.suppress(OSError):
            (self.folder / "job.json.abandoned").replace(self.folder / "job.json")

    def conclude(self, shares: list[float]) -> None:
        """Note that the job's files are where they belong, and remove all but that."""
        with errors.writing(self.folder):
            unfinished = self.folder / "shares.json.unfinished"
            unfinished.write_text(json.dumps(shares))
            unfinished.replace(self.folder / SHARES)
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)

    def shares(self, job: Job) -> list[float] | None:
        """Return what was noted when the job was concluded; None where it was not, or was another one."""
        if not self.is_of(job) or not (self.folder / SHARES).is_file():
            return None
        return json.loads((self.folder / SHARES).read_text())


def chunk_shape(plan: BlockPlan, factors: Iterable[int], shape: Iterable[int], n_bytes: int) -> tuple[int, int, int]:
    """Return chunks of which every block is made of whole ones, in layers of bounded size.

    Parameters
    ----------
    plan : BlockPlan
        On the networks' grid.
    factors : sequence of int
        By which the stack's own grid is finer.
    shape : (int, int, int)
        Of the stack.
    n_bytes : int
        Of all channels of a voxel.
    """
    shape = tuple(shape)
    z, y, x = (min(side * by, fine) for side, by, fine in zip(plan.block_shape, factors, shape, strict=True))
    most = max(1, LAYER_BYTES // (n_bytes * shape[1] * shape[2]))
    # One block along Z may end within a chunk, as nobody else writes to it.
    depth = z if z <= most else min(most, z) if z == shape[0] else max(d for d in range(1, most + 1) if z % d == 0)
    return depth, y, x


def _kinds(job: Job) -> dict[str, type]:
    """Return the arrays that a job's workspace holds, and of what."""
    kinds: dict[str, type] = {MASK: np.uint8}
    kinds |= {PROBABILITY: np.float32} if job.probabilities else {}
    kinds |= {CENTRES: np.float32} if job.centres else {}
    return kinds | ({GRADES: np.uint8} if job.objects is not None else {})


def _plain(job: Job) -> dict[str, Any]:
    """Return a job as JSON gives it back."""
    return json.loads(json.dumps(asdict(job)))
