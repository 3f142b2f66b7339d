"""The entry points ``tfcyclegan3d`` and ``tfcyclegan3d-train``: run a command, turn errors into exit statuses.

Only the standard library is imported here and at the top of the command files, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from tfcyclegan3d import errors
from tfcyclegan3d.version import __version__

COMMANDS = ("info", "synthesize", "simulate", "train", "predict", "export", "evaluate", "measure", "crossval")
# The others take a seed like every command, and draw nothing.
DRAWING = ("synthesize", "simulate", "train", "crossval")
INTERRUPTED = 130


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line on stderr and exit status 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(errors.UserError.exit_status, f"{self.prog}: {' '.join(message.split())}; see '{self.prog} --help'\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    parser = _Parser(prog="tfcyclegan3d", description="Segment organelles in 3D microscopy stacks without labels.")
    parser.add_argument("--version", action="version", version=f"tfcyclegan3d {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    for name in COMMANDS:
        _add_command(commands, name)
    return parser


def _add_command(commands: argparse._SubParsersAction, name: str) -> None:
    module = importlib.import_module(f"tfcyclegan3d.cli.{name}")
    command = commands.add_parser(
        name, help=module.SUMMARY, description=module.SUMMARY + ".", epilog=f"example: {module.EXAMPLE}"
    )
    module.add_arguments(command)
    drawing = "seed of everything random (0 if not given)"
    command.add_argument("--seed", type=int, help=drawing if name in DRAWING else "not used: nothing here is random")
    command.add_argument("--overwrite", action="store_true", help="replace what exists")
    command.add_argument("--quiet", action="store_true", help="print results and errors only")
    command.add_argument("--debug", action="store_true", help="print tracebacks and debugging messages")
    command.set_defaults(run=module.run, refuse=command.error)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 2 the user's input, 3 untrusted, 130 interrupted."""
    options, unknown = build_parser().parse_known_args(arguments)
    if unknown:  # The command's own parser points to the command's help; the one above it would point to its own.
        options.refuse(f"unrecognized arguments: {' '.join(unknown)}")
    options.seed_given, options.seed = options.seed is not None, options.seed or 0
    level = logging.DEBUG if options.debug else logging.WARNING if options.quiet else logging.INFO
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("tfcyclegan3d").setLevel(level)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if options.debug else "3")
    try:
        return options.run(options) or 0
    except errors.UserError as error:
        if options.debug:
            traceback.print_exc()
        print(f"tfcyclegan3d {options.command}: {error}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:  # Whoever reads the output, such as head, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print(f"tfcyclegan3d {options.command}: interrupted", file=sys.stderr)
        return INTERRUPTED


def main_train() -> int:
    """Run ``tfcyclegan3d train`` with this process's arguments."""
    return main(["train", *sys.argv[1:]])
