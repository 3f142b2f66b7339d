"""The page of errors shows every kind there is, provoked from the command line, with the line that it says."""

import inspect
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tfcyclegan3d import errors
from tfcyclegan3d.cli import main as command_line
from tfcyclegan3d.volumes import Volume, write_volume

PAGE = Path(__file__).parents[1] / "docs" / "errors.md"
KINDS = {
    name
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.UserError) and kind is not errors.UserError
}


def sections():
    """Return, by the name of each kind, its commands and the line that each says."""
    found = {}
    for part in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        name, _, text = part.partition("\n")
        lines = "".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL)).splitlines()
        commands = [n for n, line in enumerate(lines) if line.startswith("$ ")]
        ends = [*commands[1:], len(lines)]
        found[name] = [(lines[n][2:], lines[n + 1 : end]) for n, end in zip(commands, ends, strict=True)]
    return found


CASES = [(name, command, said) for name, commands in sections().items() for command, said in commands]


def noise(*shape):
    return np.random.default_rng(0).integers(1, 200, shape).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files that the page names."""
    folder = tmp_path_factory.mktemp("files")
    write_volume(folder / "stack.tif", Volume(noise(8, 24, 24, 2)))
    write_volume(folder / "larger.tif", Volume(noise(8, 24, 32, 2)))
    write_volume(folder / "one_channel.tif", Volume(noise(8, 24, 24, 1)))
    write_volume(folder / "three_channels.tif", Volume(noise(8, 24, 24, 3)))
    write_volume(folder / "constant.tif", Volume(np.full((8, 24, 24, 1), 7, np.uint8)))
    write_volume(folder / "truth.tif", Volume(noise(8, 24, 24, 1) > 100))
    whole = (folder / "stack.tif").read_bytes()
    (folder / "truncated.tif").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.tif").write_text("not a stack")
    (folder / "notes.txt").write_text("mine")
    tifffile.imwrite(folder / "four_dimensions.tif", noise(5, 6, 7, 8), photometric="minisblack")
    tifffile.imwrite(folder / "plane.tif", noise(20, 20))
    holed = noise(8, 24, 24).astype(np.float32)
    holed[4, 5, 6] = np.nan
    tifffile.imwrite(folder / "nan.tif", holed)
    tifffile.imwrite(folder / "photons.tif", noise(8, 24, 24).astype(np.float32) + np.float32(0.5))
    (folder / "settings.yaml").write_text("training: {batch_size: many}")
    (folder / "prior.yaml").write_text("objects: [{name: nuclei, shape: cube, semi_axes: [[4, 5]]}]")
    (folder / "microscope.yaml").write_text("- blur\n")
    (folder / "stacks").mkdir()
    write_volume(folder / "stacks" / "stack_000.tif", Volume(noise(8, 24, 24, 2)))
    return folder


def test_the_page_has_a_section_for_every_kind_of_error_and_for_no_other():
    assert [*sections()] == list(dict.fromkeys(sections()))
    assert sections().keys() == KINDS
    assert all(sections().values())


@pytest.mark.parametrize(("name", "command", "said"), CASES, ids=[f"{name}: {command}" for name, command, _ in CASES])
def test_a_command_of_the_page_ends_with_its_kind_of_error_and_the_line_shown(
    folder, monkeypatch, capsys, name, command, said
):
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    raised = []
    begin = errors.UserError.__init__
    monkeypatch.setattr(errors.UserError, "__init__", lambda self, *_: (raised.append(self), begin(self, *_))[1])
    variable, words = None, shlex.split(command)
    if "=" in words[0]:
        variable, words = words[0].partition("="), words[1:]
        monkeypatch.setenv(variable[0], variable[2])
    assert words[0] == "tfcyclegan3d"

    assert command_line.main(words[1:]) == 2

    line = capsys.readouterr().err
    assert type(raised[-1]).__name__ == name
    assert len(said) == 1 and "\u2028" not in line and line.count("\n") == 1
    assert re.fullmatch(".*".join(map(re.escape, said[0].split("…"))), line.rstrip("\n")), line
    assert sorted(folder.rglob("*")) == before, "something was left behind"


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_kind_says_what_and_a_remedy_in_one_line(name):
    kind = getattr(errors, name)
    wanted = [p for p in inspect.signature(kind).parameters.values() if p.default is p.empty]
    given = {
        "shape": (1, 2),
        "one_shape": (1, 2),
        "other_shape": (1, 3),
        "n_channels": 1,
        "known": ["a.b"],
        "key": "a.c",
    }
    error = kind(*[given.get(parameter.name, f"a {parameter.name}\nof two lines") for parameter in wanted])
    assert error.exit_status == 2
    assert "\n" not in str(error)
    what, semicolon, remedy = str(error).partition("; ")
    assert what and semicolon and len(remedy) > 5
    named = error.of_file("settings.yaml")
    assert type(named) is kind and str(named) == f"settings.yaml: {error}"
