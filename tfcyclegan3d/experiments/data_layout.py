"""Where labelled stacks lie: image files paired with those of their truth, and how both are to be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tfcyclegan3d import errors
from tfcyclegan3d.finding_stacks import check_names, find_named
from tfcyclegan3d.stacks import Stacks
from tfcyclegan3d.volumes import find_images, find_stacks, stack_name

# The authors' published code: (Y, X, Z, RGB) with Golgi in red, nuclei in green, nothing in blue.
AUTHORS_AXES = "YXZC"
AUTHORS_CHANNELS = (0, 1)
AUTHORS_IMAGES, AUTHORS_TRUTHS = "Images", "Masks"
# Theirs, and as it is spelt.
AUTHORS_SYNTHETIC = ("syntethic_masks", "synthetic_masks")


@dataclass(frozen=True)
class LabelledStacks:
    """Files of images with those of their truth, and how to read them.

    Parameters
    ----------
    images, truths : list of Path
        As many of one as of the other; a truth belongs to the image at its place. The two have one shape ZYX and one
        channel a class. A truth is 0 for background and anything else for objects.
    axes : str or None
        Order of the axes of images (see ``read_volume``); None where each file says its own, or is ZYX.
    channels : tuple of int, or None
        Channels of images to keep, one a class in its order; None for all.
    synthetic : list of Path
        Synthetic masks to train on, which belong to no image and have grids of their own; empty where none were given.
    masks_alike : bool
        Whether truths and synthetic masks are to be read as the images are, or say their own axes and are read whole.
    allow_missing_chunks : bool
        Whether chunks that a zarr lacks are taken for empty ones.
    """

    images: list[Path]
    truths: list[Path]
    axes: str | None
    channels: tuple[int, ...] | None
    synthetic: list[Path]
    masks_alike: bool = False
    allow_missing_chunks: bool = False

    def open_images(self, scratch_folder: str | Path | None = None) -> Stacks:
        """Return the images, each read when it is asked for; see ``Stacks`` for the folder."""
        return self._open(self.images, self.axes, self.channels, scratch_folder)

    def open_truths(self, scratch_folder: str | Path | None = None) -> Stacks:
        """Return the truths, in the order of the images."""
        return self._open_masks(self.truths, scratch_folder)

    def open_synthetic(self, scratch_folder: str | Path | None = None) -> Stacks:
        """Return the synthetic masks."""
        return self._open_masks(self.synthetic, scratch_folder)

    def _open_masks(self, paths: list[Path], scratch_folder: str | Path | None) -> Stacks:
        axes, channels = (self.axes, self.channels) if self.masks_alike else (None, None)
        return self._open(paths, axes, channels, scratch_folder)

    def _open(
        self, paths: list[Path], axes: str | None, channels: Sequence[int] | None, scratch_folder: str | Path | None
    ) -> Stacks:
        return Stacks(
            paths,
            axes,
            channels,
            axes_where_unclear=self.axes,
            scratch_folder=scratch_folder,
            allow_missing_chunks=self.allow_missing_chunks,
        )


def plain_layout(
    images: Sequence[str | Path],
    truths: Sequence[str | Path],
    axes: str | None = None,
    channels: Sequence[int] | None = None,
    *,
    allow_missing_chunks: bool = False,
) -> LabelledStacks:
    """Pair images with their truths by their order.

    Parameters
    ----------
    images, truths : sequence of str or Path
        Files, folders or globs; those of a folder come in name order. One folder may be both, where it holds
        ``stack_000.tif`` and ``truth_000.tif`` as ``simulate`` writes them. Every truth says its own axes, or is ZYX,
        or has those of the images; it may hold instance numbers.
    axes, channels
        How to read the images (see ``read_volume``).
    allow_missing_chunks : bool
        Take chunks that a zarr lacks for empty ones.

    Returns
    -------
    LabelledStacks

    Raises
    ------
    FileMissingError
        If a path, folder or glob leads to no stack.
    OptionError
        If there are no stacks, more of one than of the other, or a file is both image and truth.
    ShapeMismatchError, PairingError
        If an image and its truth differ in shape or number of channels, have names that belong to others, or if the
        images differ in their number of channels.
    """
    found, true = find_images(images), find_stacks(find_named(truths, "^truth_"))
    for option, stacks in (("--images", found), ("--truth", true)):
        if not stacks:
            raise errors.OptionError(option, "no stacks", "give files, folders or globs")
    both = {path.resolve() for path in found} & {path.resolve() for path in true}
    if both:
        raise errors.OptionError(
            "--images and --truth",
            str(min(both)),
            "a stack cannot be its own truth: give two folders, or one with stack_000.tif and truth_000.tif, as "
            "'tfcyclegan3d simulate' writes it",
        )
    if len(found) != len(true):
        raise errors.OptionError(
            "--images and --truth",
            f"{len(found)} and {len(true)} stacks",
            "give as many stacks of one as of the other, in the same order",
        )
    check_names(found, true)
    kept = tuple(channels) if channels is not None else None
    return _checked(LabelledStacks(found, true, axes, kept, synthetic=[], allow_missing_chunks=allow_missing_chunks))


def authors_layout(folder: str | Path) -> LabelledStacks:
    """Pair the crops in a folder laid out as the paper's authors lay theirs out.

    ``Images/`` and ``Masks/`` hold files of the same names (``Crop1.tif``, ``Crop5_BC.tif``), of axes (Y, X, Z, RGB)
    with Golgi in red and nuclei in green, masks of 0 and 255; ``syntethic_masks/`` (their spelling, or the right one)
    may hold synthetic masks. Masks without an image are left out.

    Parameters
    ----------
    folder : str or Path
        What holds these folders.

    Returns
    -------
    LabelledStacks
        Crops in name order, numbers by their value.

    Raises
    ------
    FileMissingError
        If there is no such folder, or one in it holds no stack.
    UserError
        If ``Images/`` or ``Masks/`` is missing, a crop has no mask or two, or they differ in shape.
    AxesError, ChannelError
        If a file cannot be (Y, X, Z, RGB).
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise errors.FileMissingError(folder, "folder")
    for name in (AUTHORS_IMAGES, AUTHORS_TRUTHS):
        if not (folder / name).is_dir():
            raise errors.PairingError(
                f"{folder}: holds no folder {name}",
                f"put the crops into {AUTHORS_IMAGES} and masks of the same names into {AUTHORS_TRUTHS}",
            )
    images, masks = _by_name(folder / AUTHORS_IMAGES), _by_name(folder / AUTHORS_TRUTHS)
    for name, image in images.items():
        if name not in masks:
            raise errors.PairingError(
                f"{image}: has no mask in {folder / AUTHORS_TRUTHS}",
                f"add its mask as {name}.tif, or take the crop out of {AUTHORS_IMAGES}",
            )
    synthetic = find_stacks([folder / name for name in AUTHORS_SYNTHETIC if (folder / name).is_dir()])
    truths = [masks[name] for name in images]
    return _checked(
        LabelledStacks(list(images.values()), truths, AUTHORS_AXES, AUTHORS_CHANNELS, synthetic, masks_alike=True)
    )


def _by_name(folder: Path) -> dict[str, Path]:
    """Return the stacks of a folder in name order, by their names without ``.tif``."""
    found: dict[str, Path] = {}
    for path in find_stacks([folder]):
        name = stack_name(path)
        if name in found:
            raise errors.PairingError(f"{path}: {found[name].name} beside it has the same name", "keep one of the two")
        found[name] = path
    return found


def _checked(layout: LabelledStacks) -> LabelledStacks:
    """Return a layout whose files fit each other, as far as can be said without reading a voxel."""
    images, truths = layout.open_images(), layout.open_truths()
    n_channels = images.grids[0].n_channels
    for path, image, truth_path, truth in zip(layout.images, images.grids, layout.truths, truths.grids, strict=True):
        if image.n_channels != n_channels:
            raise errors.PairingError(
                f"{path}: has {_channels(image.n_channels)} but {layout.images[0]} has {n_channels}",
                "give images with the same channels, one a class",
            )
        if image.shape != truth.shape:
            raise errors.ShapeMismatchError(str(path), image.shape, str(truth_path), truth.shape)
        if image.n_channels != truth.n_channels:
            raise errors.PairingError(
                f"{truth_path}: has {_channels(truth.n_channels)} but its image {path} has {image.n_channels}",
                "give a truth with one channel a class, in the order of the image's channels",
            )
    layout.open_synthetic()  # Its axes and channels are as they should be, or this raises.
    return layout


def _channels(n_channels: int) -> str:
    return f"{n_channels} channel{'s' if n_channels != 1 else ''}"
