"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

import argparse
from pathlib import Path


def shape(text: str) -> tuple[int, ...]:
    """Return the whole numbers of ``Z,Y,X``, as argparse asks for them."""
    sides = tuple(int(side) for side in text.split(",") if side.strip().isdecimal() and int(side) > 0)
    if len(sides) != 3 or text.count(",") != 2:
        raise argparse.ArgumentTypeError(f"received {text!r}, give three whole numbers above 0, for example 64,512,512")
    return sides


def names(text: str) -> tuple[str, ...]:
    """Return the names of ``golgi,nuclei``."""
    found = tuple(name.strip() for name in text.split(",") if name.strip())
    if not found or len(set(found)) != len(found):
        raise argparse.ArgumentTypeError(f"received {text!r}, give different names, for example golgi,nuclei")
    return found


def channels(text: str) -> tuple[int, ...]:
    """Return the channel numbers of ``0,1``."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or len(set(parts)) != len(parts):
        raise argparse.ArgumentTypeError(
            f"received {text!r}, give different channel numbers counted from 0, for example 0,1"
        )
    return tuple(int(part) for part in parts)


def voxel_sides(text: str) -> tuple[float, ...]:
    """Return the micrometres of ``Z,Y,X``."""
    try:
        sides = tuple(float(side) for side in text.split(","))
    except ValueError:
        sides = ()
    if len(sides) != 3 or not all(0 < side < float("inf") for side in sides):
        raise argparse.ArgumentTypeError(f"received {text!r}, give three lengths in um above 0, as 1.0,0.5,0.5")
    return sides


def object_diameters(texts: list[str]) -> dict[str, str]:
    """Return the diameter of each class from the texts ``NAME=VALUE,NAME=VALUE`` given.

    Raises
    ------
    OptionError
    """
    from tfcyclegan3d import errors

    diameters = {}
    for text in texts:
        for part in text.split(","):
            name, equals, value = part.partition("=")
            if not equals or not name.strip() or not value.strip():
                remedy = "write NAME=VALUE, for example nuclei=16, nuclei=8.5um or golgi=6,nuclei=16"
                raise errors.OptionError("--object-diameter", text, remedy)
            if name.strip() in diameters:
                raise errors.OptionError("--object-diameter", text, f"give one diameter of {name.strip()}")
            diameters[name.strip()] = value.strip()
    return diameters


def add_valley(parser: argparse.ArgumentParser, beside: str) -> None:
    """Add how deep a valley parts two objects, for who numbers them with the option ``beside``."""
    parser.add_argument(
        "--valley",
        type=float,
        metavar="SHARE",
        help=f"with {beside}: two hills are two objects where the valley between them is deeper than this share of the "
        "lower one's height (0.1 if not given); less parts more, where touching objects come out as one",
    )


def check_valley(valley: float | None, beside: str, given: bool) -> None:
    """Check what was given with ``--valley``.

    Raises
    ------
    OptionError
    """
    from tfcyclegan3d import errors

    if valley is not None and not given:
        raise errors.OptionError("--valley", valley, f"add {beside}, or leave it out")
    if valley is not None and not 0 <= valley < 1:
        raise errors.OptionError("--valley", valley, "give at least 0 and less than 1")


def add_reading_arguments(parser: argparse.ArgumentParser, *, voxel_size: bool = True) -> None:
    """Add how image files are read, by what voxel size where that matters."""
    parser.add_argument("--axes", help="order of the files' axes, for example ZCYX or YXZC, where they do not say it")
    parser.add_argument(
        "--channels",
        type=channels,
        metavar="N,N",
        help="channels to use, counted from 0, one for each class in its order (all if not given)",
    )
    if voxel_size:
        add_voxel_size(parser)


def add_voxel_size(parser: argparse.ArgumentParser) -> None:
    """Add what the stacks' voxel size is."""
    parser.add_argument(
        "--voxel-size",
        type=voxel_sides,
        metavar="Z,Y,X",
        help="of the stacks in um, where the files do not say it, or say it wrongly",
    )


def add_missing_chunks(parser: argparse.ArgumentParser) -> None:
    """Add what to do with a zarr of which not every chunk is stored."""
    parser.add_argument(
        "--missing-chunks",
        choices=("refuse", "fill"),
        default="refuse",
        help="fill: take chunks that a zarr lacks for empty, as programs leave them out that store no empty ones",
    )


def check_reading(options: argparse.Namespace, only: str) -> None:
    """Refuse to be told how to read the stacks of the option ``only``, which are read in one way only.

    Raises
    ------
    OptionsClashError
    """
    from tfcyclegan3d import errors

    given = {
        "--axes": options.axes is not None,
        "--channels": options.channels is not None,
        "--voxel-size": vars(options).get("voxel_size") is not None,
        "--missing-chunks fill": options.missing_chunks == "fill",
    }
    for option, is_given in given.items():
        if is_given:
            raise errors.OptionsClashError(only, option, f"leave {option} out: such stacks are read in one way only")


def add_output(parser: argparse.ArgumentParser, what: str) -> None:
    """Add ``-o``."""
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help=what)
