"""From the user's stacks to what the networks train on: every open choice is made here, said, and written down."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfcyclegan3d import errors, tiling
from tfcyclegan3d.config import Config
from tfcyclegan3d.preprocessing import CoarseObjects
from tfcyclegan3d.scratch import ScratchFile
from tfcyclegan3d.stacks import grids_of
from tfcyclegan3d.synthesis import estimation
from tfcyclegan3d.synthesis.classes import check_channels, classes_of, taken_for
from tfcyclegan3d.synthesis.diameters import TAKEN_FOR_ISOTROPIC, diameters_in_voxels, prior_of_diameters
from tfcyclegan3d.synthesis.fitting import fit_prior
from tfcyclegan3d.synthesis.placement import draw_scene
from tfcyclegan3d.synthesis.prior import NUCLEI_AND_GOLGI, Prior
from tfcyclegan3d.training import on_disk, settling
from tfcyclegan3d.volumes import Grid, Volume, check_image

logger = logging.getLogger(__name__)

Triple = tuple[int, int, int]
UNSURE = 0.4  # Of a fit's confidence.
MOST_DRAWN = 2**24  # Voxels of a drawn mask: rendering one takes a dozen times as many floats.


@dataclass(frozen=True)
class Prepared:
    """What a training needs.

    Parameters
    ----------
    config : Config
        With nothing left open: the run can be repeated from it.
    images : list of ndarray
        ZYXC float32 in [-1, 1], on the networks' grid; on disk, like the masks.
    objects : list of CoarseObjects
        The masks on the networks' grid; not paired with the images.
    prior : Prior or None
        What they were drawn from; None for masks that were given.
    voxel_size : (z, y, x)
        Of the stacks, in the prior's unit; relative to X where masks were given.
    notes : list of str
        What was found or assumed, for the user to read.
    scratch_folder : Path, optional
        On whose disk images and masks lie, in files without a name.
    mask_seconds : float
        Spent on making the masks.
    """

    config: Config
    images: list[np.ndarray]
    objects: list[CoarseObjects]
    prior: Prior | None
    voxel_size: tuple[float, float, float]
    notes: list[str]
    scratch_folder: Path | None = None
    mask_seconds: float = 0.0

    @property
    def arrays(self) -> dict[str, list[np.ndarray]]:
        """Everything trained on, by what to call it."""
        return {"stacks": self.images, "masks": [one.coverage for one in self.objects]}

    def redrawn(self, fills: Mapping[str, float]) -> list[CoarseObjects]:
        """Return masks drawn anew, about as full as the networks find the stacks to be.

        Parameters
        ----------
        fills : dict of str to float
            Share of the voxels covered, by the name of the class that begins a group.
        """
        intervals = {
            name: (float(np.clip(0.85 * fill, 0.002, 0.5)), float(np.clip(1.2 * fill, 0.004, 0.55)))
            for name, fill in fills.items()
        }
        prior, scratch = self.prior.with_fill(intervals), ScratchFile(self.scratch_folder)
        return _drawn_objects(self.config, prior, self.voxel_size, self.images, scratch, stream=8)


def prepare(
    images: Sequence[Volume], masks: Sequence[Volume] | None, config: Config, scratch_folder: Path | None = None
) -> Prepared:
    """Check the stacks, settle what the configuration leaves open, and bring everything to the networks' grid.

    Parameters
    ----------
    images : sequence of Volume
        The user's stacks, one channel a class; taken one at a time (see ``Stacks``) and looked at slab by slab.
    masks : sequence of Volume, optional
        Masks to train against, not paired with the images; drawn from the prior without them.
    config : Config
        As the user gave it.
    scratch_folder : Path, optional
        On whose disk to put what the training draws patches from; the system's folder for temporary files without it.

    Raises
    ------
    UserError
        For stacks or settings that do not fit each other, or a disk that is full.
    """
    notes: list[str] = []
    config, prior, voxel_size = _settled(images, masks, config, notes)
    factors = config.preprocessing.downsampling
    reach = 2**config.model.critic_levels
    if all(side <= reach for side in config.training.patch_shape):
        # What is left of a patch is one voxel, which an instance normalisation makes nought.
        notes.append(
            f"patches of {config.training.patch_shape} are too small for {config.model.critic_levels} critic "
            f"levels to tell anything: give patches above {reach} voxels, or fewer model.critic_levels"
        )

    scratch = ScratchFile(scratch_folder)
    prepared_images = on_disk.images(images, config.preprocessing, scratch)
    begun = time.monotonic()
    if masks:
        objects = _with_centres(on_disk.given_objects(masks, factors, scratch), config, voxel_size, scratch)
    else:
        objects = _drawn_objects(config, prior, voxel_size, prepared_images, scratch, stream=7, notes=notes)
    if not any(one.numbers.any() for one in objects):
        raise errors.PriorError(
            f"the masks hold no object in any of {len(objects)}{' given' if masks else ' drawn'}",
            "give masks with objects, or a prior that fits the stack",
        )
    seconds = time.monotonic() - begun
    return Prepared(
        settling.with_foreground_weights(config, objects),
        prepared_images,
        objects,
        prior,
        voxel_size,
        notes,
        scratch_folder,
        seconds,
    )


def choose_downsampling(images: Sequence[Volume], config: Config) -> tuple[int, int, int]:
    """Return the downsampling that ``prepare`` would choose for these stacks, without a label."""
    return _settled(images, None, config, [])[0].preprocessing.downsampling


def _settled(
    images: Sequence[Volume], masks: Sequence[Volume] | None, config: Config, notes: list[str]
) -> tuple[Config, Prior | None, tuple[float, float, float]]:
    """Check the stacks and settle classes, prior and grid; return them with the size of a voxel."""
    if not len(images):
        raise errors.OptionError("images", [], "give at least one stack")
    for image in images:
        check_image(image)
    given = Prior.from_dict(config.synthesis.prior) if config.synthesis.prior is not None and not masks else None
    grids = grids_of(images)
    classes = config.classes or (given.class_names if given is not None else classes_of(grids[0]))
    check_channels([*grids, *(grids_of(masks) if masks else [])], classes)
    if not config.classes and given is None:
        notes += taken_for(classes)
    config = settling.with_classes(config, classes)
    if not masks and any(grid.voxel_size_um is None for grid in grids):
        notes.append(TAKEN_FOR_ISOTROPIC)
    settling.note_unlike_voxels(grids, notes)
    prior = None if masks else given or _fitting_prior(config, images, grids, notes)
    if given is not None and given.class_names != classes:
        raise errors.PriorError(
            f"it draws {', '.join(given.class_names)}, but the classes are {', '.join(classes)}",
            "name the same classes in the same order with --classes",
        )
    voxel_size = settling.voxel_aspect(grids[0]) if prior is None else prior.voxel_size(grids[0].voxel_size_um)
    if prior is not None:
        prior.check_fits(np.max([grid.shape for grid in grids], axis=0).tolist(), voxel_size)
    if prior is not None:
        smallest = min(one.typical_diameter for one in prior.objects)
    else:
        smallest = settling.smallest_diameter(masks, voxel_size)
    config = settling.with_grid(config, smallest, grids, voxel_size, notes)
    drawn_from = prior.to_dict() if prior is not None else None
    config = dataclasses.replace(config, synthesis=dataclasses.replace(config.synthesis, prior=drawn_from))
    return config, prior, voxel_size


def _fitting_prior(config: Config, images: Sequence[Volume], grids: Sequence[Grid], notes: list[str]) -> Prior:
    """Return what to draw where no prior is given: the paper's, from the diameters, or fitted to the stacks."""
    classes = config.classes
    diameters = diameters_in_voxels(config.synthesis.diameters or {}, classes, grids[0], grids)
    if not diameters and not config.synthesis.fill_from_stack and classes == NUCLEI_AND_GOLGI.class_names:
        notes.append(
            "no diameters given: objects are drawn as in the paper (Golgi 10 to 18 voxels across, nuclei 34 to "
            "60 long and 16 to 26 wide)"
        )
        return NUCLEI_AND_GOLGI
    if len(diameters) == len(classes):
        of_images = [
            [estimation.fill_fraction([image.array[..., k : k + 1]]) for k in range(len(classes))] for image in images
        ]
        fills = dict(zip(classes, np.mean(of_images, axis=0).tolist(), strict=True))
        shares = {name: (max(fill, 1e-4),) * 2 for name, fill in fills.items()}
        prior = prior_of_diameters(diameters, shares, grids[0].voxel_size_um)
    else:
        fit = fit_prior(images, classes, diameters)
        notes.append("synthetic masks are fitted to the stacks, without a label; what was found:")
        notes.extend(fit.lines)
        if any(one.confidence < UNSURE for one in fit.classes):
            notes.append("better say how large the objects are, with --object-diameter NAME=VALUE")
        prior = fit.prior
        fills = {kind.root.name: float(np.mean(kind.root.fill_fraction)) for kind in prior.groups()}
    # Thresholds and fits miss dim objects and take noise for some, so masks are drawn around what they find.
    intervals = {
        name: (float(np.clip(0.8 * fill, 0.005, 0.4)), float(np.clip(2.0 * fill, 0.01, 0.45)))
        for name, fill in fills.items()
    }
    notes.extend(
        f"{' and '.join(kind.class_names)} cover about {100 * fills[kind.root.name]:.1f} % of the stacks: "
        "masks are drawn {:.1f} to {:.1f} % full".format(*(100 * end for end in intervals[kind.root.name]))
        for kind in prior.groups()
    )
    return prior.with_fill(intervals)


def _drawn_objects(
    config: Config,
    prior: Prior,
    voxel_size: Sequence[float],
    images: Sequence[np.ndarray],
    scratch: ScratchFile,
    stream: int,
    notes: list[str] | None = None,
) -> list[CoarseObjects]:
    """Draw on a grid up to twice as fine as the networks', which is enough to know how far a voxel is covered."""
    factors = config.preprocessing.downsampling
    finer = tuple(min(factor, 2) for factor in factors)
    fine = tuple(side * factor / step for side, factor, step in zip(voxel_size, factors, finer, strict=True))
    objects = []
    shortfalls: list[str] = []
    for i in range(config.synthesis.n_masks):
        sides = np.maximum(images[i % len(images)].shape[:3], config.training.patch_shape)
        if config.synthesis.maximum_shape is not None:
            sides = np.minimum(sides, np.maximum(config.synthesis.maximum_shape, config.training.patch_shape))
        sides = np.maximum(tiling.shortened(sides, MOST_DRAWN), config.training.patch_shape)
        seed = np.random.SeedSequence([config.seed, stream, i])
        # Counts are those of a whole stack; what is padded beyond one stays as the preset says.
        share = min(1.0, float(np.prod(sides) / np.prod(images[i % len(images)].shape[:3])))
        scene = draw_scene(tuple(int(side) for side in sides * finer), prior.for_part(share), fine, seed)
        shortfalls.extend(scene.shortfalls)
        objects.append(on_disk.scene_objects(scene, finer, scratch))
    if shortfalls and notes is not None:
        notes.append(f"{len(shortfalls)} of the synthetic masks are as full as they get; the first: {shortfalls[0]}")
    return _with_centres(objects, config, voxel_size, scratch)


def _with_centres(
    objects: list[CoarseObjects], config: Config, voxel_size: Sequence[float], scratch: ScratchFile
) -> list[CoarseObjects]:
    """Let objects show their centres, where the networks are to learn them."""
    if not config.synthesis.centres:
        return objects
    factors = config.preprocessing.downsampling
    spacing = [side * factor for side, factor in zip(voxel_size, factors, strict=True)]
    return [on_disk.with_centres(one, spacing, scratch) for one in objects]
