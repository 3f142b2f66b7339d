"""``tfcyclegan3d train``: train on stacks without labels."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tfcyclegan3d.cli.arguments import (
    add_missing_chunks,
    add_output,
    add_reading_arguments,
    check_reading,
    names,
    object_diameters,
)

if TYPE_CHECKING:
    from tfcyclegan3d.config import Config
    from tfcyclegan3d.training.run import Run

SUMMARY = "train a 3D CycleGAN between your stacks and synthetic masks, without a label"
EXAMPLE = "tfcyclegan3d train --images stacks/ --object-diameter nuclei=16 -o run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    data = parser.add_argument_group("data")
    data.add_argument("--images", nargs="+", metavar="PATH", help="your stacks: files, folders or globs")
    data.add_argument(
        "--masks",
        nargs="+",
        metavar="PATH",
        help="masks to train against, not paired with the images (drawn if not given); of a folder with mask_*, "
        "truth_* or NAME_mask files, those alone",
    )
    data.add_argument(
        "--truth",
        nargs="+",
        metavar="PATH",
        help="the masks of the images, in their order, which --method unet or vox2vox learns from; of a folder with "
        "truth_* files, those alone",
    )
    data.add_argument(
        "--demo",
        action="store_true",
        help="train on built-in simulated stacks instead, then segment and score one held out",
    )
    data.add_argument(
        "--classes",
        type=names,
        metavar="NAME,NAME",
        help="what the channels show, in their order (1 channel: nuclei; 2: golgi,nuclei, if not given)",
    )
    data.add_argument(
        "--object-diameter",
        action="append",
        default=[],
        metavar="NAME=VALUE[um]",
        help="typical diameter of a class, in voxels along X or in um; given again, or after a comma, for each further "
        "class (estimated if not given)",
    )
    data.add_argument("--prior", type=Path, metavar="FILE", help="what to draw, as 'synthesize' writes it (prior.yaml)")
    add_reading_arguments(data)
    add_missing_chunks(data)
    how = parser.add_argument_group("training")
    how.add_argument(
        "--method",
        choices=("cyclegan", "two-stage", "unet", "vox2vox"),
        help="cyclegan (if not given) and two-stage (a U-Net on synthetic masks and what a CycleGAN makes of them) "
        "need no label; unet and vox2vox learn from --truth",
    )
    how.add_argument(
        "--cyclegan-run", type=Path, metavar="RUN", help="with --method two-stage: a trained CycleGAN to begin with"
    )
    how.add_argument(
        "--preset", metavar="NAME", help="fast, best, paper or authors (if not given, best with a GPU and fast without)"
    )
    how.add_argument(
        "--config", type=Path, metavar="FILE", help="settings, as an earlier run wrote them (YAML or JSON)"
    )
    how.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="change one setting, for example training.batch_size=2; may be given again",
    )
    how.add_argument(
        "--max-minutes", type=float, metavar="M", help="train at most so long; the schedule fits itself to it"
    )
    how.add_argument("--epochs", type=int, metavar="N", help="number of epochs")
    how.add_argument("--steps", type=int, metavar="N", help="training steps in an epoch")
    how.add_argument(
        "--mixed-precision", choices=("auto", "off", "bfloat16", "float16"), help="what the convolutions compute in"
    )
    how.add_argument("--resume", action="store_true", help="go on with the run in the output folder")
    add_output(parser, "run folder to write to")


def run(options: argparse.Namespace) -> int:
    """Train, and return the exit status of the run."""
    from tfcyclegan3d import errors, presets
    from tfcyclegan3d.quiet_tensorflow import import_quietly

    if options.demo and (options.images or options.masks):
        raise errors.OptionsClashError("--demo", "--images or --masks", "give either --demo or stacks of your own")
    if not options.demo and not options.images:
        remedy = "give your stacks, or --demo to see it work on built-in ones"
        if options.resume:
            remedy = "give the stacks that the run was begun with, or --demo if it was begun so"
        raise errors.OptionError("--images", None, remedy)
    _check_options_apply(options)
    chosen, changes = _chosen(options), _changes(options)
    method = chosen.method if chosen is not None else "cyclegan"
    if options.resume:
        method = method if (options.output / "config.json").is_file() else "two-stage"  # Stopped in its first stage.
        if options.method not in (None, method):
            raise errors.OptionError("--method", options.method, f"the run was begun with {method}")
    method = options.method or method

    def settled(base: Config) -> Config:
        return (base if base.method == method else presets.with_method(base, method)).replace(changes)

    config = settled(chosen or presets.fast())  # Refused options need not wait for TensorFlow.
    _check_method(options, method)
    if not options.debug:
        import_quietly()
    base = chosen
    if chosen is None:
        base = presets.fast() if options.demo else presets.for_this_machine()
        config = settled(base)
    called = Path(sys.argv[0]).name
    command = shlex.join([called if called.startswith("tfcyclegan3d") else "tfcyclegan3d", *sys.argv[1:]])
    if method == "two-stage":
        return _train_two_stage(options, _first_stage(options, base).replace(changes), config, command)
    return (_demo if options.demo else _train)(options, config, command)


def _check_options_apply(options: argparse.Namespace) -> None:
    """Refuse options that another one would leave without effect."""
    from tfcyclegan3d import errors

    if options.demo:
        check_reading(options, "--demo")
    drawing = {"--object-diameter": options.object_diameter, "--prior": options.prior}
    for option, value in drawing.items():
        if value and options.masks:
            raise errors.OptionsClashError(option, "--masks", "leave it out: beside given masks none are drawn")
    if options.prior and options.object_diameter:
        raise errors.OptionsClashError("--object-diameter", "--prior", "leave one of them out: a prior holds all sizes")


def _check_method(options: argparse.Namespace, method: str) -> None:
    """Refuse options that belong to another method."""
    from tfcyclegan3d import errors

    learns_from_truth = method in ("unet", "vox2vox")
    if options.demo and method != "cyclegan":
        raise errors.OptionsClashError("--demo", f"--method {method}", "see all methods with 'crossval --demo'")
    if learns_from_truth and not options.truth:
        raise errors.OptionError("--truth", None, f"give the masks of the images, which {method} learns from")
    if not learns_from_truth and options.truth:
        raise errors.OptionError("--truth", options.truth[0], f"leave it out: {method} learns without labels")
    for option, value in (("--masks", options.masks), ("--prior", options.prior)):
        if learns_from_truth and value:
            raise errors.OptionsClashError(option, f"--method {method}", "leave it out: the method learns from --truth")
    if options.cyclegan_run and method != "two-stage":
        raise errors.OptionsClashError("--cyclegan-run", f"--method {method}", "give it with --method two-stage alone")


def _how(options: argparse.Namespace, command: str) -> dict[str, object]:
    return {
        "axes": options.axes,
        "channels": options.channels,
        "voxel_size_um": options.voxel_size,
        "allow_missing_chunks": options.missing_chunks == "fill",
        "overwrite": options.overwrite,
        "resume": options.resume,
        "progress": not options.quiet,
        "command": command,
    }


def _first_stage(options: argparse.Namespace, base: Config) -> Config:
    """Return the settings of the CycleGAN, which a run's own file of the second stage has beside it."""
    from tfcyclegan3d import config as configuration
    from tfcyclegan3d import errors

    if base.method != "two-stage" or options.cyclegan_run or options.resume:  # No other, or none that is to be trained.
        return base
    beside = options.config.parent / configuration.STAGE_ONE / "config.json"
    if not beside.is_file():
        raise errors.OptionError(
            "--config", str(options.config), f"leave it in its run: {beside}, the settings of the CycleGAN, is missing"
        )
    return configuration.load(beside)


def _train_two_stage(options: argparse.Namespace, config: Config, segmenter: Config, command: str) -> int:
    from tfcyclegan3d.experiments.two_stage import train_two_stage
    from tfcyclegan3d.finding_stacks import find_images, find_masks

    finished = train_two_stage(
        find_images(options.images),
        config,
        options.output,
        masks=find_masks(options.masks) if options.masks else None,
        segmenter=segmenter,
        cyclegan_run=options.cyclegan_run,
        **_how(options, command),
    )
    return _report(options, finished)


def _train(options: argparse.Namespace, config: Config, command: str) -> int:
    from tfcyclegan3d.experiments.data_layout import plain_layout
    from tfcyclegan3d.finding_stacks import find_images, find_masks
    from tfcyclegan3d.training.run import train

    images, truth = find_images(options.images), None
    if options.truth:
        fill = options.missing_chunks == "fill"
        pairs = plain_layout(options.images, options.truth, options.axes, options.channels, allow_missing_chunks=fill)
        images, truth = pairs.images, pairs.truths
    masks = find_masks(options.masks) if options.masks else None
    finished = train(images, masks, config, options.output, truth=truth, **_how(options, command))
    return _report(options, finished)


def _report(options: argparse.Namespace, finished: Run) -> int:
    if finished.worker > 0:
        print(f"worker {finished.worker}: {finished.verdict}; worker 0 wrote {finished.path}")
        return finished.exit_status
    print(f"{finished.path}: {finished.verdict}; look at {finished.path / 'report.html'}")
    if finished.verdict == "interrupted":
        print("go on with the same command and --resume")
    if finished.exit_status == 0:
        print(
            f"next: tfcyclegan3d predict {shlex.quote(str(finished.path))} --images "
            f"{shlex.join([*options.images, *_reading(options)])} -o masks"
        )
    return finished.exit_status


def _reading(options: argparse.Namespace) -> list[str]:
    """Return the options that say how stacks are to be read, as they were given."""
    given = {
        "--axes": options.axes,
        "--channels": ",".join(map(str, options.channels or ())),
        "--voxel-size": ",".join(map(str, options.voxel_size or ())),
        "--missing-chunks": options.missing_chunks if options.missing_chunks == "fill" else None,
    }
    return [word for option, value in given.items() if value for word in (option, value)]


def _demo(options: argparse.Namespace, config: Config, command: str) -> int:
    from tfcyclegan3d.experiments.demo import run_demo

    demo = run_demo(
        options.output,
        config,
        overwrite=options.overwrite,
        resume=options.resume,
        progress=not options.quiet,
        command=command,
    )
    if demo.picture is not None:
        print(demo.table)
        print(f"{demo.picture}: the held-out stack, its mask and its truth")
    print(f"{demo.run.path}: {demo.run.verdict}; look at {demo.run.path / 'report.html'}")
    return demo.run.exit_status


def _changes(options: argparse.Namespace) -> dict[str, object]:
    """Return what single options set, by dotted key."""
    from tfcyclegan3d import config as configuration
    from tfcyclegan3d import errors

    if options.seed < 0:
        raise errors.OptionError("--seed", options.seed, "give a whole number of 0 or more")
    given = {
        "seed": options.seed if options.seed_given else None,
        "classes": options.classes,
        "training.max_minutes": options.max_minutes,
        "training.epochs": options.epochs,
        "training.steps_per_epoch": options.steps,
        "training.mixed_precision": options.mixed_precision,
        "synthesis.diameters": object_diameters(options.object_diameter) or None,
        "synthesis.prior": _prior(options.prior),
    }
    changes = {key: value for key, value in given.items() if value is not None}
    if options.object_diameter:
        changes["synthesis.prior"] = None  # That of an earlier run would hide the diameters.
    if options.prior:
        changes["synthesis.diameters"] = None  # Those of an earlier run are not of these objects.
    assigned = configuration.parse_assignments(options.set)
    for key in ("method", "preset"):
        if key in assigned:  # More than one setting depends on them.
            raise errors.OptionError("--set", f"{key}={assigned[key]}", f"give --{key} {assigned[key]}")
    return changes | assigned


def _chosen(options: argparse.Namespace) -> Config | None:
    """Return the settings of the preset, file or run that was asked for, if one was."""
    from tfcyclegan3d import config as configuration
    from tfcyclegan3d import errors, presets

    if options.preset and options.config:
        raise errors.OptionsClashError("--preset", "--config", "leave it out: the file holds all settings")
    if options.resume:
        # A two-stage run that stopped in its first stage holds that alone, and all that the second is made from.
        places = (options.output / "config.json", options.output / configuration.STAGE_ONE / "config.json")
        begun = next((configuration.load(path) for path in places if path.is_file()), None)
        if begun is None:
            raise errors.ModelError(options.output, "holds no run to resume", "start one without --resume")
        if options.preset not in (None, begun.preset):
            raise errors.OptionError("--preset", options.preset, f"the run was begun with {begun.preset}")
        return begun
    if options.config:
        return configuration.load(options.config)
    return presets.by_name(options.preset) if options.preset else None


def _prior(path: Path | None) -> dict | None:
    from tfcyclegan3d.synthesis.prior_file import load_prior

    return load_prior(path).to_dict() if path is not None else None
