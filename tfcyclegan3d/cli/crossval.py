"""``tfcyclegan3d crossval``: compare methods on stacks with their truth."""

from __future__ import annotations

import argparse

from tfcyclegan3d.cli.arguments import add_missing_chunks, add_output, add_reading_arguments, check_reading, names

SUMMARY = "compare methods by nested cross-validation: the paper's Tables I and II, Figures 1 and 3"
EXAMPLE = "tfcyclegan3d crossval --images stacks/ --truth stacks/ -o compared"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    data = parser.add_argument_group("data")
    data.add_argument(
        "--images",
        nargs="+",
        metavar="PATH",
        help="stacks: files, folders or globs; with --layout authors, the folder that holds Images/ and Masks/",
    )
    data.add_argument(
        "--truth",
        nargs="+",
        metavar="PATH",
        help="their masks, in the same order; of a folder with truth_* files, those alone",
    )
    data.add_argument(
        "--layout", choices=("plain", "authors"), default="plain", help="how the stacks are laid out (data_README.md)"
    )
    data.add_argument("--demo", action="store_true", help="compare on small built-in simulated stacks instead")
    add_reading_arguments(data, voxel_size=False)
    add_missing_chunks(data)
    how = parser.add_argument_group("comparison")
    how.add_argument(
        "--methods",
        type=names,
        metavar="NAME,NAME",
        help="otsu, smoothed-otsu, unet, vox2vox, cyclegan and two-stage (all if not given)",
    )
    how.add_argument("--folds", type=int, default=3, metavar="K", help="number of folds (3 if not given)")
    how.add_argument(
        "--seeds", type=int, metavar="N", help="train everything with N seeds, from --seed on (1 if not given)"
    )
    how.add_argument("--preset", metavar="NAME", help="as 'train' takes it")
    how.add_argument(
        "--object-diameter", action="append", default=[], metavar="NAME=VALUE[um]", help="as 'train' takes it"
    )
    how.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="change one setting of every method"
    )
    how.add_argument("--max-minutes", type=float, metavar="M", help="of every training")
    how.add_argument(
        "--labelling-hours",
        type=float,
        default=84.0,
        metavar="H",
        help="what labelling one stack by hand takes, for Table I (84, as the paper says, if not given)",
    )
    how.add_argument("--resume", action="store_true", help="go on with the comparison in the output folder")
    add_output(parser, "folder to write to")


def run(options: argparse.Namespace) -> int:
    """Compare, print Table II, and return the exit status."""
    from tfcyclegan3d.quiet_tensorflow import import_quietly

    _check(options)
    changes, config = _settings(options)
    if not options.debug:
        import_quietly()
    from tfcyclegan3d.experiments import comparison_demo, cross_validation, data_layout, methods

    how = {
        "config": config,
        "changes": changes,
        "chosen": options.methods or methods.METHODS,
        "n_folds": options.folds,
        "seeds": _seeds(options),
        "labelling_hours": options.labelling_hours,
        "overwrite": options.overwrite,
        "resume": options.resume,
        "progress": not options.quiet,
    }
    if options.demo:
        found = comparison_demo.compare_on_simulated(options.output, **how)
    else:
        if options.layout == "authors":
            stacks = data_layout.authors_layout(options.images[0])
        else:
            fill = options.missing_chunks == "fill"
            stacks = data_layout.plain_layout(
                options.images, options.truth, options.axes, options.channels, allow_missing_chunks=fill
            )
        found = cross_validation.cross_validate(stacks, options.output, **how)
    return _report(found)


def _report(found) -> int:
    table = found.path / "table2.md"
    if found.cells and table.exists():
        print(table.read_text(), end="")
    for place in found.failed:
        print(f"failed: {place}; see {place.folder(found.path) / 'error.txt'}")
    if found.interrupted:
        print("interrupted: go on with the same command and --resume")
    else:
        print(f"{found.path}: {', '.join(found.results) or 'no cell is done, so there are no tables and figures'}")
    return found.exit_status


def _check(options: argparse.Namespace) -> None:
    """Refuse options that another one would leave without effect, and values out of range."""
    from tfcyclegan3d import errors
    from tfcyclegan3d.experiments.comparison_settings import check_seeds

    if options.demo and (options.images or options.truth):
        raise errors.OptionsClashError("--demo", "--images or --truth", "give either --demo or stacks of your own")
    if not options.demo and not options.images:
        raise errors.OptionError("--images", None, "give stacks and their --truth, or --demo")
    if options.layout == "authors" and (options.truth or len(options.images or ()) != 1):
        raise errors.OptionError("--layout", "authors", "give one folder with --images, and no --truth")
    if options.demo or options.layout == "authors":
        check_reading(options, "--demo" if options.demo else "--layout authors")
    if options.images and options.layout == "plain" and not options.truth:
        raise errors.OptionError("--truth", None, "give the masks of the stacks, in the same order")
    if options.seeds is not None and options.seeds < 1:
        raise errors.OptionError("--seeds", options.seeds, "give at least 1")
    if options.seed < 0:
        raise errors.OptionError("--seed", options.seed, "give a whole number of 0 or more")
    check_seeds(_seeds(options))
    if not 0 <= options.labelling_hours < float("inf"):
        raise errors.OptionError("--labelling-hours", options.labelling_hours, "give 0 or more")


def _seeds(options: argparse.Namespace) -> range:
    return range(options.seed, options.seed + (options.seeds or 1))


def _settings(options: argparse.Namespace):
    """Return the changes asked for, and the preset's configuration if one was (None: the machine decides)."""
    from tfcyclegan3d import config as configuration
    from tfcyclegan3d import presets
    from tfcyclegan3d.cli.arguments import object_diameters
    from tfcyclegan3d.experiments.comparison_settings import check_changes

    given = {
        "training.max_minutes": options.max_minutes,
        "synthesis.diameters": object_diameters(options.object_diameter) or None,
    }
    changes = {key: value for key, value in given.items() if value is not None}
    changes |= configuration.parse_assignments(options.set)
    check_changes(changes)
    config = presets.by_name(options.preset) if options.preset else None
    (config or presets.fast()).replace(changes)  # Refused options need not wait for TensorFlow.
    return changes, config
