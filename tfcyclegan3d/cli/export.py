"""``tfcyclegan3d export``: a trained model for others, with a description."""

from __future__ import annotations

import argparse
from pathlib import Path

from tfcyclegan3d.cli.arguments import add_output

SUMMARY = "write a trained model for others: TensorFlow, Keras, BioImage.IO"
EXAMPLE = "tfcyclegan3d export run -o model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("trained", type=Path, metavar="RUN", help="a run folder written by 'train'")
    parser.add_argument(
        "--format",
        choices=("savedmodel", "keras"),
        default="savedmodel",
        help="savedmodel, for TensorFlow alone with the preprocessing, and Keras (if not given); or Keras only",
    )
    parser.add_argument(
        "--author",
        action="append",
        default=[],
        metavar="NAME",
        help="who trained it, for the description; may be given several times",
    )
    parser.add_argument("--license", metavar="SPDX", help="licence of the weights, for example CC-BY-4.0")
    add_output(parser, "folder to write: the model, model.json, README.md, and rdf.yaml for BioImage.IO")


def run(options: argparse.Namespace) -> None:
    """Write the model and say so."""
    from tfcyclegan3d.quiet_tensorflow import import_quietly

    if not options.debug:
        import_quietly()
    from tfcyclegan3d.exporting.export import export_model

    folder = export_model(
        options.trained,
        options.output,
        options.format,
        options.overwrite,
        authors=options.author,
        weights_license=options.license,
    )
    print(f"{folder}: {options.format} of {options.trained}; {folder / 'README.md'} says how to use it")
