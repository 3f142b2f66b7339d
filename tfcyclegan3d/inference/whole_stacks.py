"""Segmenting stacks of any size from file to file."""

from __future__ import annotations

import hashlib
import itertools
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfcyclegan3d import errors
from tfcyclegan3d.inference import finishing, seams
from tfcyclegan3d.inference.making import make_blocks, prepare
from tfcyclegan3d.inference.objects import diameters_of, move_objects, number_objects
from tfcyclegan3d.inference.predictor import SegmentationModel
from tfcyclegan3d.inference.workspace import OBJECTS, Job, Workspace
from tfcyclegan3d.objects.instances import VALLEY
from tfcyclegan3d.stored_stacks import is_ours
from tfcyclegan3d.tiff.writing import SOFTWARE
from tfcyclegan3d.tiling import Shape
from tfcyclegan3d.volumes import read_grid, stack_name

# Bytes at the beginning of a PNG that say what wrote it.
MOST_OF_PICTURE = 1024
# In the folder of the outputs; hidden from whoever looks for stacks there.
WORKSPACES = ".unfinished-prediction"
SEAMS = "seams.png"
ENDINGS = ("mask.tif", "mask.zarr", "mask.png", "probability.tif", "probability.zarr", SEAMS)
ENDINGS += ("objects.tif", "objects.zarr")

Make = Callable[[Job, Workspace, Sequence[int], Callable[[], None]], None]
OnProgress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Outcome:
    """What became of a stack.

    Parameters
    ----------
    mask : Path
        Its mask.
    shares : dict of str to float
        Share of the voxels in each class's mask.
    n_resumed : int
        Blocks that an earlier call had made.
    was_there : bool
        An earlier call, which was interrupted later, had finished the stack.
    seams : Seams, optional
        How much the mask depends on tiles, where that was asked for and there is more than one.
    counts : dict of str to int, optional
        Number of the objects of each class, where they were numbered by this call.
    """

    mask: Path
    shares: dict[str, float]
    n_resumed: int = 0
    was_there: bool = False
    seams: seams.Seams | None = None
    counts: dict[str, int] | None = None


@dataclass(frozen=True)
class Wanted:
    """What is wanted of every stack; see the options of ``predict``.

    Parameters
    ----------
    threshold : float or None
        The model's own if None.
    probabilities : bool
        Keep them, too.
    centres : bool
        Let the workspace hold the centres of objects while there is one; it does anyway where objects are numbered by
        a model that has centres.
    suffix : {".tif", ".zarr"}
        Of the outputs.
    tile : (int, int, int) or None
        What no tile exceeds, on the networks' grid.
    check_seams : bool
        Segment each stack by another grid of tiles, too, and compare.
    reading : dict
        ``axes``, ``channels``, ``voxel_size_um``, ``allow_missing_chunks``.
    changes : dict
        Settings that differ from the model's.
    objects : dict, optional
        Number the objects, too; see `Job`.
    valley : float, optional
        How deep a valley parts two of them, as `label_objects` takes it; its default if not given.
    """

    threshold: float | None = None
    probabilities: bool = False
    centres: bool = False
    suffix: str = ".tif"
    tile: Shape | None = None
    check_seams: bool = False
    reading: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    objects: dict[str, Any] | None = None
    valley: float | None = None


def segment_stacks(
    model: SegmentationModel,
    model_path: Path,
    paths: Sequence[Path],
    wanted: Wanted,
    folder: Path,
    progress: Callable[[str], Any],
    *,
    overwrite: bool = False,
    make: Make | None = None,
) -> Iterator[Outcome]:
    """Segment stack after stack; all of them are looked through before the first is segmented.

    What is not finished lies in a hidden folder beside the outputs and is gone at the end, and when a stack cannot be
    segmented; a call that was interrupted or killed, or has lost its workers, leaves it, and the same call goes on
    behind the last whole block. Calls for other stacks may write into the same folder at the same time.

    Parameters
    ----------
    model : SegmentationModel
        With the changes that are wanted.
    model_path : Path
        Its folder.
    paths : sequence of Path
        The stacks, of different names.
    wanted : Wanted
        What is wanted of each.
    folder : Path
        Where masks, probabilities and pictures go, existing.
    progress : callable
        From a title to a context manager that gives ``on_progress(done, total, what)``.
    overwrite : bool
        Whether files of the same names may be replaced, other than those of the call that is gone on with.
    make : callable, optional
        Makes blocks of a job; this process does if not given.

    Yields
    ------
    Outcome
        Of each stack, once its files are there.

    Raises
    ------
    UserError
        For a stack that cannot be segmented, or an output that cannot be written.
    """
    _refuse_inputs(folder, paths, wanted)
    if wanted.objects is not None:
        for path in paths:  # What is wrong with diameters is said before any work.
            diameters_of(model.config, read_grid(path, **wanted.reading), wanted.objects)
    with _workspaces(folder / WORKSPACES, [stack_name(path) for path in paths]) as spaces:
        fingerprint = version_of(model_path / "image_to_mask.keras")
        jobs = [job_of(path, model, model_path, wanted, fingerprint) for path in paths]
        for job, workspace in zip(jobs, spaces, strict=True):
            if workspace.shares(job) is None and not overwrite:
                refuse_existing(folder, names_of(job.name))
        for job, workspace in zip(jobs, spaces, strict=True):
            prepare(job, model, workspace)
        for n_finished, (job, workspace) in enumerate(zip(jobs, spaces, strict=True)):
            try:
                outcome = _segment(job, model, workspace, wanted, folder, progress, make, paths)
            except errors.ClusterError:
                raise
            except errors.UserError as error:
                raise _with_finished(error, n_finished, len(jobs)) from error
            yield outcome


def job_of(path: Path, model: SegmentationModel, model_path: Path, wanted: Wanted, fingerprint: list[Any]) -> Job:
    """Return the job that a stack is."""
    threshold = model.config.inference.threshold if wanted.threshold is None else wanted.threshold
    return Job(
        model=str(model_path.resolve()),
        changes=wanted.changes,
        image=str(path.resolve()),
        reading=wanted.reading,
        fingerprint=[fingerprint, version_of(path)],
        name=stack_name(path),
        threshold=threshold,
        probabilities=wanted.probabilities,
        centres=wanted.centres or (wanted.objects is not None and model.has_centres),
        tile=wanted.tile,
        objects=wanted.objects,
        valley=VALLEY if wanted.valley is None else wanted.valley,
        suffix=wanted.suffix,
        check_seams=wanted.check_seams,
    )


def _segment(
    job: Job,
    model: SegmentationModel,
    workspace: Workspace,
    wanted: Wanted,
    folder: Path,
    progress: Callable[[str], Any],
    make: Make | None,
    inputs: Sequence[Path],
) -> Outcome:
    mask = folder / f"{job.name}_mask{wanted.suffix}"
    concluded = workspace.shares(job)
    if concluded is not None:
        return Outcome(mask, dict(zip(model.classes, concluded, strict=True)), was_there=True)
    source = job.open(workspace.folder.parent)
    settled = workspace.settled(model, source.grid.shape)
    n_blocks, remaining = len(settled.plan.blocks), workspace.remaining(settled.plan)
    with progress(job.name) as on_progress:
        done = itertools.count(n_blocks - len(remaining) + 1)
        on_progress(n_blocks - len(remaining), n_blocks, "blocks")

        def on_block() -> None:
            on_progress(next(done), n_blocks, "blocks")

        if make is not None:
            make(job, workspace, remaining, on_block)
        elif remaining:
            make_blocks(job, model, workspace, remaining, on_block, source)
    found = None
    if wanted.check_seams:
        with progress(f"{job.name}, seams") as on_progress:
            found = seams.compare(job, model, workspace, source, lambda done, total: on_progress(done, total, "blocks"))
            if found is not None:
                found.draw(workspace.folder / SEAMS, model.classes, source.grid)
    counts = None
    if wanted.objects is not None:
        with progress(f"{job.name}, objects") as on_progress:
            counts = number_objects(
                job,
                workspace,
                model.config,
                source.grid,
                wanted.suffix,
                lambda done, total: on_progress(done, total, "blocks"),
            )
    shares = finishing.finish(job, workspace, source, model.classes, wanted.suffix, folder)
    if counts is not None:
        move_objects(job, workspace, wanted.suffix, folder)
    if found is not None:
        with errors.writing(folder):
            (workspace.folder / SEAMS).replace(folder / f"{job.name}_{SEAMS}")
    _remove_stale(folder, job.name, wanted, inputs, drawn=found is not None)
    workspace.conclude(shares)
    named = dict(zip(model.classes, shares, strict=True))
    return Outcome(mask, named, n_blocks - len(remaining), seams=found, counts=counts)


@contextmanager
def _workspaces(folder: Path, names: Sequence[str]) -> Iterator[list[Workspace]]:
    """Give the workspace of each stack, which an interruption leaves, as does what befalls workers.

    Those of other stacks in the folder are another call's, which may be at work.
    """
    with errors.writing(folder):
        folder.mkdir(exist_ok=True)
    spaces = [Workspace(folder / name) for name in names]
    try:
        yield spaces
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, errors.ClusterError) and any(space.holds_work() for space in spaces):
            raise
        _remove(spaces, folder)
        raise
    _remove(spaces, folder)


def _remove(spaces: Iterable[Workspace], folder: Path) -> None:
    for space in spaces:
        shutil.rmtree(space.folder, ignore_errors=True)
    with suppress(OSError):  # Another call's workspaces are in it.
        folder.rmdir()


def _with_finished(error: errors.UserError, n_finished: int, n_stacks: int) -> errors.UserError:
    """Return an error that says what to do about the stacks finished before it, too."""
    if n_finished == 0:
        return error
    stacks = "the first stack is" if n_finished == 1 else f"the first {n_finished} stacks are"
    others = "the last one" if n_stacks - n_finished == 1 else f"the other {n_stacks - n_finished}"
    return error.with_advice(f"{stacks} finished: then give --images {others} alone, or all with --overwrite")


def version_of(path: Path) -> list[Any]:
    """Return what tells one version of a file, or of a zarr, from another."""
    if path.is_dir():
        digest = hashlib.sha256()
        for one in sorted(path.rglob("*")):  # Chunks, too: a program may have changed some in place.
            if one.is_file():
                digest.update(repr((one.relative_to(path).as_posix(), *version_of(one))).encode())
        return [digest.hexdigest()]
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def names_of(name: str) -> list[str]:
    """Return the names of all files that any prediction of a stack of this name may write."""
    return [f"{name}_{ending}" for ending in ENDINGS]


def _written(name: str, wanted: Wanted, drawn: bool) -> set[str]:
    kinds = {f"{kind}{wanted.suffix}" for kind in finishing.kinds(wanted.probabilities)}
    kinds |= {f"{OBJECTS}{wanted.suffix}"} if wanted.objects is not None else set()
    return {f"{name}_{ending}" for ending in kinds | {"mask.png"} | ({SEAMS} if drawn else set())}


def _remove_stale(folder: Path, name: str, wanted: Wanted, inputs: Sequence[Path], *, drawn: bool) -> None:
    """Remove what another call made of a stack of this name, so that files of two calls never mix.

    Files that this package did not write stay, and so do the stacks that are segmented.
    """
    for stale in set(names_of(name)) - _written(name, wanted, drawn):
        path = folder / stale
        if _holding(path, inputs) is None and _is_made_here(path):
            with errors.writing(path):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _refuse_inputs(folder: Path, inputs: Sequence[Path], wanted: Wanted) -> None:
    """Refuse to write to a stack that is to be segmented."""
    for path in inputs:
        for written in sorted(_written(stack_name(path), wanted, wanted.check_seams)):
            taken = _holding(folder / written, inputs)
            if taken is not None:
                remedy = f"{written} of {path.name} would replace it: give another -o"
                raise errors.OptionError("--images", str(taken), remedy)


def _holding(path: Path, inputs: Sequence[Path]) -> Path | None:
    """Return the first of some stacks that is a file or folder, or within it."""
    path = path.resolve()
    return next((one for one in inputs if path in (one.resolve(), *one.resolve().parents)), None)


def _is_made_here(path: Path) -> bool:
    """Tell whether a stack or a picture says that this package wrote it."""
    if path.suffix != ".png":
        return is_ours(path)
    if not path.is_file():
        return False
    with errors.writing(path), path.open("rb") as picture:
        return b"tEXtSoftware\0" + SOFTWARE.encode() in picture.read(MOST_OF_PICTURE)


def refuse_existing(folder: Path, names: Iterable[str]) -> None:
    """Check that a folder holds no file of these names.

    Raises
    ------
    OutputExistsError
    """
    for name in names:
        if (folder / name).exists():
            raise errors.OutputExistsError(folder / name)
