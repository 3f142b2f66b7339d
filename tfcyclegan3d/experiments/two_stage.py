"""The two-stage method: a CycleGAN, then a U-Net on synthetic masks and what its ``mask_to_image`` makes of them.

No label takes part. It is the method the paper compares itself to: Dunn et al., "DeepSynth: Three-dimensional nuclear
segmentation of biological images using neural networks trained with synthetic data", Scientific Reports 9, 2019.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfcyclegan3d import config as configuration
from tfcyclegan3d import errors, patches, presets
from tfcyclegan3d.config import STAGE_ONE, Config
from tfcyclegan3d.inference.stitching import predict_tiles
from tfcyclegan3d.models.trained import load_network
from tfcyclegan3d.noise import missing_noise
from tfcyclegan3d.stacks import Stack, Stacks
from tfcyclegan3d.training import settling
from tfcyclegan3d.training.loop import INTERRUPTED
from tfcyclegan3d.training.manifest import input_entry
from tfcyclegan3d.training.pairs import Pairs, PreparedPairs, divided
from tfcyclegan3d.training.preparation import Prepared, prepare
from tfcyclegan3d.training.run import Material, Run, train, train_on
from tfcyclegan3d.training.run_folder import RunFolder

logger = logging.getLogger(__name__)

NOISE_STREAM = 22  # Of random numbers, beside the seed.


def train_two_stage(
    images: Sequence[Stack],
    config: Config | None = None,
    output: str | Path = "run",
    *,
    masks: Sequence[Stack] | None = None,
    segmenter: Config | None = None,
    cyclegan_run: str | Path | None = None,
    axes: str | None = None,
    channels: Sequence[int] | None = None,
    voxel_size_um: tuple[float, float, float] | None = None,
    allow_missing_chunks: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    progress: bool = True,
    command: str | None = None,
) -> Run:
    """Train a CycleGAN, unless one is given, and a U-Net on what it makes of synthetic masks.

    Parameters
    ----------
    images : sequence of Volume, ndarray or path
        Stacks, as ``train`` takes them.
    config : Config, optional
        Of the CycleGAN; ``presets.for_this_machine()`` if not given.
    output : str or Path
        The run folder of the U-Net; its CycleGAN is a run folder ``cyclegan/`` in it.
    masks : sequence of Volume, ndarray or path, optional
        Synthetic masks, as ``train`` takes them; drawn without them.
    segmenter : Config, optional
        Of the U-Net; ``presets.with_method(config, "two-stage")`` if not given, or its own where it is resumed.
    cyclegan_run : str or Path, optional
        Run folder of a CycleGAN trained on such stacks, which is then not trained again.
    axes, channels, voxel_size_um, allow_missing_chunks, overwrite, resume, progress, command
        As ``train`` takes them.

    Returns
    -------
    Run
        Of the U-Net; of the CycleGAN where that was interrupted.

    Raises
    ------
    UserError
        As ``train`` does, and for a run folder of another method.
    """
    output = Path(output)
    config = config or presets.for_this_machine()
    opening = {"allow_missing_chunks": allow_missing_chunks}
    reading = {"axes": axes, "channels": channels, "voxel_size_um": voxel_size_um, **opening}
    how = {"progress": progress, "command": command}
    first = output / STAGE_ONE
    first_resumes, second_resumes = (resume and (run / "config.json").is_file() for run in (first, output))
    if not first_resumes:
        RunFolder.check(output, overwrite=overwrite, resume=resume)
    if cyclegan_run is None:
        if not (resume and _has_ended(first)):
            of_first = None if first_resumes else config
            run = train(images, masks, of_first, first, **reading, overwrite=overwrite, resume=first_resumes, **how)
            if run.verdict == INTERRUPTED:
                return run
            if run.exit_status:
                logger.warning("the CycleGAN ended as %s: look at %s", run.verdict, first / "report.html")
    else:
        first = Path(cyclegan_run)
    _check_first(first, masks)
    network = input_entry(first / "mask_to_image.keras")
    if cyclegan_run is None and second_resumes and _learned_from_another(output, network):
        second_resumes = False  # What is there is of the run that this one replaces.
    if not second_resumes:
        segmenter = segmenter or presets.with_method(config, "two-stage")

    def gather() -> Material:
        folder = next(place for place in (output, *output.absolute().parents) if place.is_dir())
        stacks = Stacks(images, **reading, scratch_folder=folder)
        unclear = {"axes_where_unclear": axes, "scratch_folder": folder, **opening}
        given = Stacks(masks, **unclear) if masks is not None else None
        inputs = [*map(input_entry, [*stacks.given, *(given.given if given is not None else [])]), network]
        return Material(inputs, lambda settled: prepare_generated(stacks, given, first, settled, folder), stacks.grids)

    # Beside a first stage of its own, what is there is of a second one that cannot be resumed.
    return train_on(gather, segmenter, output, overwrite=overwrite or first_resumes, resume=second_resumes, **how)


def _learned_from_another(output: Path, network: dict[str, Any]) -> bool:
    """Tell whether a second stage was begun with another network than this entry of a manifest."""
    recorded = RunFolder.recorded(output)
    return recorded is not None and recorded[0][-1]["sha256"] not in (None, network["sha256"])


def prepare_generated(
    images: Stacks, masks: Stacks | None, cyclegan_run: Path, config: Config, scratch_folder: Path | None = None
) -> PreparedPairs:
    """Draw a CycleGAN's synthetic masks anew, or take those given, and let its ``mask_to_image`` make their images.

    Parameters
    ----------
    images : Stacks
        Those the CycleGAN was trained on, or alike; they tell the masks' shapes.
    masks : Stacks or None
        What it was trained against, where that was given.
    cyclegan_run : Path
        Its run folder, which also settles classes, contrast stretching and grid.
    config : Config
        Of the U-Net.
    scratch_folder : Path, optional
        As ``prepare`` takes it.
    """
    of_first = configuration.load(cyclegan_run / "config.json")
    prepared = prepare(images, masks, of_first, scratch_folder)
    begun = time.monotonic()
    pairs = generated_pairs(cyclegan_run, prepared)
    seconds = prepared.mask_seconds + time.monotonic() - begun
    synthesis = dataclasses.replace(of_first.synthesis, centres=False)
    config = dataclasses.replace(config, preprocessing=of_first.preprocessing, synthesis=synthesis)
    notes = [f"trained on {len(pairs.images)} synthetic masks and the images that {cyclegan_run.name} made of them"]
    divided_pairs = divided(pairs, settling.with_classes(config, of_first.classes), notes)
    return dataclasses.replace(divided_pairs, mask_seconds=seconds)


def generated_pairs(cyclegan_run: Path, prepared: Prepared) -> Pairs:
    """Return each of the prepared masks with what a run's ``mask_to_image`` makes of it.

    A generator trained by L1 draws images without noise; they are given as much of it as they lack beside the stacks.
    """
    network = load_network(cyclegan_run / "mask_to_image.keras")
    inference, images = prepared.config.inference, []
    for one in prepared.objects:
        masks = patches.mask_range(one.shown)
        images.append(
            predict_tiles(
                masks,
                network.predict_on_batch,
                inference.tile_shape,
                (inference.overlap,) * 3,
                n_outputs=one.coverage.shape[-1],
            )
        )
    deviation = missing_noise(images, prepared.images)
    for number, image in enumerate(images):
        rng = np.random.default_rng([prepared.config.seed, NOISE_STREAM, number])
        image += deviation.astype(np.float32) * rng.standard_normal(image.shape, np.float32)
        np.clip(image, -1, 1, out=image)
    return Pairs(images, [one.coverage for one in prepared.objects])


def _has_ended(run: Path) -> bool:
    try:
        return RunFolder(run).read_manifest()["verdict"] not in ("running", INTERRUPTED)
    except (OSError, ValueError, KeyError):
        return False


def _check_first(run: Path, masks: Sequence[Stack] | None) -> None:
    if not (run / "config.json").is_file() or not (run / "mask_to_image.keras").is_file():
        raise errors.ModelError(run, "is no run folder of a CycleGAN with a mask_to_image.keras")
    if masks is None and configuration.load(run / "config.json").synthesis.prior is None:
        raise errors.ModelError(run, "was trained on masks that were given", "give them again, with --masks")
