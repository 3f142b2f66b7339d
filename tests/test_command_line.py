"""What a user types: help without TensorFlow, one line for a mistake and nothing left behind, and the whole way."""

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
import tensorflow as tf
import tifffile

from tfcyclegan3d.cli import main as command_line
from tfcyclegan3d.evaluation.overlap import evaluate
from tfcyclegan3d.inference.predictor import load_model
from tfcyclegan3d.objects.analysis import ENDINGS
from tfcyclegan3d.synthesis.diameters import prior_for
from tfcyclegan3d.synthesis.microscope import ANY, CLEAN, HARD
from tfcyclegan3d.synthesis.microscope_file import load_microscope
from tfcyclegan3d.synthesis.prior_file import save_prior
from tfcyclegan3d.synthesis.simulation import simulate_stack
from tfcyclegan3d.thresholding import otsu_mask
from tfcyclegan3d.volumes import Volume, read_volume, write_volume

COMMANDS = ("info", "synthesize", "simulate", "train", "predict", "export", "evaluate", "measure", "crossval")
SCRIPTS = Path(sys.executable).parent
VOXEL_SIZE = (0.5, 0.25, 0.25)
# Small networks, and of the training only the start, which compiles in a second or two.
TINY = [
    option
    for setting in (
        *("model.filters=4", "model.blocks=1", "model.critic_filters=4", "model.critic_levels=2", "model.end_kernel=3"),
        *("training.patch_shape=[16,16,16]", "training.start_fraction=1", "synthesis.n_masks=2"),
        *("synthesis.maximum_shape=[16,32,32]", "inference.tile_shape=[16,16,16]", "inference.overlap=4"),
        # Two steps make nothing to be trusted.
        *(f"monitors.{name}.consequence=warn" for name in ("collapse", "empty", "full", "inversion", "class_swap")),
    )
    for option in ("--set", setting)
] + ["--epochs", "1", "--steps", "2", "--mixed-precision", "off"]


def run(*arguments):
    """Run a command here and return its exit status."""
    try:
        return command_line.main([str(argument) for argument in arguments])
    except SystemExit as stopped:  # How argparse ends a command.
        return stopped.code


def script(*arguments, name="tfcyclegan3d"):
    """Run an installed command as a user would."""
    return subprocess.run(
        [SCRIPTS / name, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )


def python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def noise(shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(1, 200, shape).astype(dtype)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder of good files and of every bad one."""
    folder = tmp_path_factory.mktemp("files")
    image = simulate_stack((20, 48, 52), seed=1).image
    write_volume(folder / "cells.tif", Volume(image.array, VOXEL_SIZE))
    whole = (folder / "cells.tif").read_bytes()
    (folder / "truncated.tif").write_bytes(whole[: len(whole) // 2])
    (folder / "text.tif").write_text("no stack")
    (folder / "empty.tif").write_bytes(b"")
    tifffile.imwrite(folder / "plane.tif", noise((20, 20)))
    tifffile.imwrite(folder / "unclear.tif", noise((5, 6, 7, 8)), photometric="minisblack")
    holed = noise((9, 9, 9, 2), np.float32)
    holed[4, 4, 4, 1] = np.nan
    tifffile.imwrite(folder / "holed.tif", np.moveaxis(holed, -1, 1), imagej=True, metadata={"axes": "ZCYX"})
    dark = noise((9, 9, 9, 2))
    dark[..., 1] = 3
    write_volume(folder / "dark.tif", Volume(dark))
    write_volume(folder / "three.tif", Volume(noise((9, 9, 9, 3))))
    write_volume(folder / "one.tif", Volume(noise((9, 9, 9, 1))))
    (folder / "empty folder").mkdir()
    save_prior(prior_for({"er": 5.0}, 0.1), folder / "er.json")
    (folder / "broken.json").write_text("{")
    (folder / "unknown.yaml").write_text("model: {filtres: 3}")
    (folder / "blurr.yaml").write_text("blurr: [1, 2]")
    (folder / "text.txt").write_text("mine")
    return folder


@pytest.fixture(scope="module")
def trained(files):
    """A run folder, trained by the command itself."""
    assert run("train", "--images", files / "cells.tif", "-o", files / "trained", "--quiet", *TINY) == 0
    return files / "trained"


@pytest.fixture
def here(files, tmp_path, monkeypatch):
    """An empty folder to work in; the files are reached by ``{files}``."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def filled(arguments, files):
    return [argument.format(files=files) for argument in arguments]


@pytest.fixture
def eagerly():
    """Run steps without compiling them: seconds less for a run of two steps."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def assert_one_line(message, said):
    """One line, which names what was wrong, and a remedy after a semicolon."""
    assert message.count("\n") == 1, message
    assert message.endswith("\n")
    assert "Traceback" not in message
    for part in (said, "tfcyclegan3d", "; "):
        assert part in message
    assert len(message.split("; ", 1)[1].strip()) > 5


# ---- help


def test_help_of_every_command_shows_an_example_and_loads_no_tensorflow():
    code = (
        "import contextlib, io, json, sys\n"
        "from tfcyclegan3d.cli.main import COMMANDS, main\n"
        "said = {}\n"
        "for command in COMMANDS:\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):\n"
        "        main([command, '--help'])\n"
        "    said[command] = ' '.join(out.getvalue().split())\n"
        "heavy = [name for name in ('tensorflow', 'keras', 'numpy', 'scipy', 'matplotlib') if name in sys.modules]\n"
        "print(json.dumps([said, heavy]))"
    )
    said, heavy = json.loads(python(code))
    assert heavy == []
    assert tuple(said) == COMMANDS
    for command, text in said.items():
        assert f"usage: tfcyclegan3d {command} " in text
        assert f"example: tfcyclegan3d {command} " in text
        for option in ("--seed", "--overwrite", "--quiet", "--debug"):
            assert option in text


@pytest.mark.parametrize("command", COMMANDS)
def test_the_example_of_a_command_is_one_it_takes(command, monkeypatch):
    parser = command_line.build_parser()
    example = __import__(f"tfcyclegan3d.cli.{command}", fromlist=["EXAMPLE"]).EXAMPLE
    name, *arguments = example.split()
    assert name == "tfcyclegan3d"
    assert parser.parse_args(arguments).command == command


def test_importing_the_package_loads_no_tensorflow_and_takes_less_than_a_second():
    code = (
        "import sys, time\n"
        "begun = time.perf_counter()\n"
        "import tfcyclegan3d\n"
        "print(time.perf_counter() - begun, 'tensorflow' in sys.modules, 'keras' in sys.modules)"
    )
    seconds, *loaded = python(code).split()
    assert loaded == ["False", "False"]
    assert float(seconds) < 1


def test_the_installed_commands_answer():
    done = script("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for command in COMMANDS:
        assert command in done.stdout
    done = script("--help", name="tfcyclegan3d-train")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--object-diameter" in done.stdout
    assert script("--version").stdout.startswith("tfcyclegan3d ")


# ---- mistakes

BAD_STACKS = {
    "nowhere.tif": "nowhere.tif: no such file",
    "{files}/empty folder": "empty folder: no such TIFF stack",
    "{files}/text.tif": "text.tif: cannot be read",
    "{files}/empty.tif": "empty.tif: cannot be read",
    "{files}/truncated.tif": "truncated.tif: cannot be read",
    "{files}/plane.tif": "plane.tif: found axes",
    "{files}/unclear.tif": "unclear.tif: found axes",
    "{files}/holed.tif": "holed.tif: holds 1 voxel of NaN",
    "{files}/dark.tif": "dark: channel 1 is constant (value 3)",
    "{files}/three.tif": "three",
}
CELLS = "{files}/cells.tif"


@pytest.mark.parametrize(("stack", "said"), BAD_STACKS.items())
def test_a_stack_that_cannot_be_trained_on_is_one_line_and_leaves_nothing(here, files, capsys, stack, said):
    assert run("train", "--images", *filled([CELLS, stack], files), "-o", "deep/out", *TINY) == 2
    assert_one_line(capsys.readouterr().err, said)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(("stack", "said"), BAD_STACKS.items())
def test_a_stack_that_cannot_be_segmented_is_one_line_and_leaves_nothing(here, files, trained, capsys, stack, said):
    assert run("predict", trained, "--images", *filled([stack], files), "-o", "deep/out") == 2
    assert_one_line(capsys.readouterr().err, said)
    assert list(here.iterdir()) == []


TRAIN_MISTAKES = [
    (["--images", CELLS, "--axes", "QYX"], "QYX"),
    (["--images", CELLS, "--axes", "ZYX"], "cells.tif: found axes"),
    (["--images", CELLS, "--channels", "0,9"], "[0, 9]"),
    (["--images", CELLS, "--channels", "red"], "'red'"),
    (["--images", CELLS, "--classes", "nuclei"], "cells: has 2 channels"),
    (["--images", CELLS, "--classes", "golgi,golgi"], "'golgi,golgi'"),
    (["--images", "{files}/one.tif", "--classes", "golgi,nuclei"], "one: has 1 channel,"),
    (["--images", CELLS, "--frobnicate"], "--frobnicate"),
    (["--images", CELLS, "--set", "model.filtres=3"], "'model.filtres'"),
    (["--images", CELLS, "--set", "filters=3"], "'filters'"),
    (["--images", CELLS, "--set", "model=3"], "'model'"),
    (["--images", CELLS, "--set", "model.filters"], "'model.filters'"),
    (["--images", CELLS, "--set", "model.filters=[1"], "[1"),
    (["--images", CELLS, "--set", "training.epochs=many"], "training.epochs: received 'many'"),
    (["--images", CELLS, "--set", "training.epochs=1.5"], "training.epochs: received 1.5"),
    (["--images", CELLS, "--set", "training.epochs=0"], "training.epochs: received 0"),
    (["--images", CELLS, "--set", "training.epochs="], "training.epochs: received None"),
    (["--images", CELLS, "--set", "training.patch_shape=[16,16]"], "training.patch_shape: received [16, 16]"),
    (["--images", CELLS, "--set", "training.patch_shape=[16,16,15]"], "training.patch_shape"),
    (["--images", CELLS, "--set", "losses.class_weights=[1,2,3]"], "losses.class_weights"),
    (["--images", CELLS, "--set", "losses.class_weights='[1'"], "losses.class_weights: received '[1'"),
    (["--images", CELLS, "--set", "training.pool_size=-1"], "training.pool_size: received -1"),
    (["--images", CELLS, "--set", "training.generator_learning_rate=-1"], "training.generator_learning_rate"),
    (["--images", CELLS, "--epochs", "many"], "'many'"),
    (["--images", CELLS, "--epochs", "-1"], "training.epochs: received -1"),
    (["--images", CELLS, "--max-minutes", "0"], "training.max_minutes: received 0"),
    (["--images", CELLS, "--max-minutes", "nan"], "training.max_minutes: received nan"),
    (["--images", CELLS, "--mixed-precision", "float8"], "'float8'"),
    (["--images", CELLS, "--preset", "slow"], "--preset: received 'slow'"),
    (
        ["--images", CELLS, "--preset", "fast", "--config", "{files}/unknown.yaml"],
        "--preset: cannot be used with --config",
    ),
    (["--images", CELLS, "--config", "nowhere.yaml"], "nowhere.yaml: no such configuration file"),
    (["--images", CELLS, "--config", "{files}/broken.json"], "broken.json"),
    (["--images", CELLS, "--config", "{files}/text.txt"], "text.txt"),
    (["--images", CELLS, "--config", "{files}/unknown.yaml"], "'model.filtres'"),
    (["--images", CELLS, "--object-diameter", "nuclei"], "'nuclei'"),
    (["--images", CELLS, "--object-diameter", "golgi=6,nuclei"], "'golgi=6,nuclei'"),
    (["--images", CELLS, "--object-diameter", "nuclei=8,5"], "'nuclei=8,5'"),
    (["--images", CELLS, "--object-diameter", "nuclei=large"], "'nuclei=large'"),
    (["--images", CELLS, "--object-diameter", "nuclei=0"], "'nuclei=0'"),
    (["--images", CELLS, "--object-diameter", "er=8"], "'er'"),
    (["--images", "{files}/one.tif", "--object-diameter", "nuclei=8um"], "one has no voxel size"),
    (["--images", CELLS, "--prior", "nowhere.json"], "nowhere.json"),
    (["--images", CELLS, "--prior", "{files}/broken.json"], "broken.json"),
    (["--images", CELLS, "--prior", "{files}/er.json"], "but the classes are 1: er"),
    (["--images", CELLS, "--masks", "nowhere.tif"], "nowhere.tif: no such file"),
    (["--images", CELLS, "--masks", "{files}/one.tif"], "one: has 1 channel,"),
    (["--images", CELLS, "--seed", "-1"], "--seed: received -1"),
    (["--images", CELLS, "--resume"], "out: holds no run to resume"),
    (["--images", CELLS, "-o", "{files}/text.txt"], "text.txt is in the way"),
    (["--images", CELLS, "-o", "{files}/text.txt/runs/one"], "text.txt is in the way"),
    (["--demo", "-o", "{files}/text.txt/runs/one"], "text.txt is in the way"),
    (["--demo", "--images", CELLS], "--demo"),
    (["--demo", "--masks", CELLS], "--demo"),
    (["--demo", "--resume"], "out: holds no run to resume"),
    (["--resume"], "give the stacks that the run was begun with"),
    ([], "--images"),
    (["--images"], "--images"),
]


@pytest.mark.parametrize(("arguments", "said"), TRAIN_MISTAKES, ids=lambda value: str(value)[:60])
def test_a_mistake_in_train_is_one_line_and_leaves_nothing(here, files, capsys, arguments, said):
    assert run("train", "-o", "out", *filled(arguments, files)) == 2
    assert_one_line(capsys.readouterr().err, said)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("command", [["info", "cells.tif"], ["simulate", "-o", "out"]])
def test_an_unknown_option_points_to_the_help_of_its_command(here, capsys, command):
    assert run(*command, "--frobnicate") == 2
    name = f"tfcyclegan3d {command[0]}"
    said = f"{name}: unrecognized arguments: --frobnicate; see '{name} --help'\n"
    assert capsys.readouterr().err == said
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(("command", "used"), [("train", True), ("info", False), ("evaluate", False)])
def test_help_says_whether_the_seed_is_used(capsys, command, used):
    assert run(command, "--help") == 0
    assert ("not used: nothing here is random" in " ".join(capsys.readouterr().out.split())) != used


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--images", CELLS, "--object-diameter", "nuclei=large", "--masks", CELLS], "--object-diameter"),
        (["--images", CELLS, "--object-diameter", "nuclei=9", "--prior", "{files}/er.json"], "--object-diameter"),
        (["--images", CELLS, "--prior", "{files}/er.json", "--masks", CELLS], "--prior"),
        (["--demo", "--axes", "ZCYX"], "--demo: cannot be used with --axes"),
        (["--demo", "--channels", "1,0"], "--demo: cannot be used with --channels"),
        (["--demo", "--voxel-size", "1,1,1"], "--demo: cannot be used with --voxel-size"),
        (["--demo", "--missing-chunks", "fill"], "--demo: cannot be used with --missing-chunks fill"),
    ],
)
def test_an_option_that_would_have_no_effect_is_refused(here, files, capsys, arguments, said):
    assert run("train", *filled(arguments, files), "-o", "out", *TINY) == 2
    assert_one_line(capsys.readouterr().err, said)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["predict", "nowhere", "--images", CELLS, "-o", "out"], "nowhere: no such run folder"),
        (["predict", "{files}/empty folder", "--images", CELLS, "-o", "out"], "empty folder: is no run folder"),
        (["predict", CELLS, "--images", CELLS, "-o", "out"], "cells.tif: is no run folder"),
        (["predict", "{files}/trained", "-o", "out"], "--images"),
        (["predict", "{files}/trained", "--images", CELLS], "-o"),
        (["predict", "{files}/trained", "--images", CELLS, "-o", "out", "--threshold", "1.5"], "--threshold"),
        (["predict", "{files}/trained", "--images", CELLS, "-o", "out", "--threshold", "nan"], "--threshold"),
        (["predict", "{files}/trained", "--images", CELLS, "-o", "out", "--axes", "QYX"], "QYX"),
        (["predict", "{files}/trained", "--images", CELLS, "-o", "out", "--channels", "1"], "golgi, nuclei"),
        (["predict", "{files}/trained", "--images", CELLS, "-o", "{files}/text.txt"], "text.txt: cannot be written"),
        (["predict", "{files}/trained", "--images", CELLS, "-o", "{files}/text.txt/out"], "cannot be written"),
        (["simulate", "-o", "{files}/text.txt/out"], "cannot be written"),
        (["evaluate", "--prediction", CELLS, "--truth", CELLS, "--json", "{files}/text.txt/s.json"], "text.txt"),
        (["simulate", "--count", "0", "-o", "out"], "--count: received 0"),
        (["simulate", "--shape", "8,8", "-o", "out"], "'8,8'"),
        (["simulate", "--seed", "-3", "-o", "out"], "--seed: received -3"),
        (["simulate", "--shape", "2,3,4", "-o", "out"], "cannot fit into a volume of 2 x 3 x 4"),
        (["simulate", "--bits", "12", "-o", "out"], "--bits"),
        (["simulate", "--voxel-size", "1,0.2", "-o", "out"], "'1,0.2'"),
        (["simulate", "--voxel-size", "1,0.2,0", "-o", "out"], "'1,0.2,0'"),
        (["simulate", "--microscope", "electron", "-o", "out"], "--microscope: received 'electron'"),
        (["simulate", "--microscope", "nowhere.yaml", "-o", "out"], "nowhere.yaml: no such file"),
        (["simulate", "--microscope", "{files}/blurr.yaml", "-o", "out"], "did you mean microscope.blur?"),
        (["simulate", "--microscope", "clean", "--hard", "-o", "out"], "--hard"),
        (["simulate", "--prior", "nowhere.json", "-o", "out"], "nowhere.json: no such file"),
        (["evaluate", "--prediction", "nowhere.tif", "--truth", CELLS], "nowhere.tif: no such file"),
        (["evaluate", "--prediction", CELLS, "--truth", "{files}/three.tif", "--json", "out/s.json"], "three"),
        (["info", "{files}/truncated.tif"], "truncated.tif: cannot be read"),
        (["info", "--frobnicate", CELLS], "--frobnicate"),
        (["synthesize", "--shape", "0,1,2", "-o", "out"], "'0,1,2'"),
        (["paint"], "'paint'"),
        ([], "COMMAND"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_mistake_in_another_command_is_one_line_and_leaves_nothing(here, files, trained, capsys, arguments, said):
    assert run(*filled(arguments, files)) == 2
    assert_one_line(capsys.readouterr().err, said)
    assert list(here.iterdir()) == []


def test_two_stacks_of_one_name_would_overwrite_each_other_and_are_refused(here, files, trained, capsys):
    (here / "other").mkdir()
    shutil.copy(files / "cells.tif", here / "other")
    assert run("predict", trained, "--images", files / "cells.tif", "other/cells.tif", "-o", "out") == 2
    assert_one_line(capsys.readouterr().err, "cells")
    assert not (here / "out").exists()


def test_a_damaged_model_is_one_line(here, files, trained, capsys):
    shutil.copytree(trained, here / "run")
    network = here / "run" / "image_to_mask.keras"
    content = bytearray(network.read_bytes())
    content[len(content) // 2] ^= 255
    network.write_bytes(content)
    assert run("predict", "run", "--images", files / "cells.tif", "-o", "out") == 2
    assert_one_line(capsys.readouterr().err, "image_to_mask.keras")
    assert not (here / "out").exists()


def test_a_later_bad_stack_leaves_no_masks_of_the_earlier_ones(here, files, trained, capsys):
    assert run("predict", trained, "--images", files / "cells.tif", files / "dark.tif", "-o", "out", "--quiet") == 2
    assert_one_line(capsys.readouterr().err, "dark: channel 1 is constant")
    assert not (here / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--images", "{files}/dark.tif", "-o", "out"],
        ["predict", "{files}/trained", "--images", "no.tif", "-o", "o"],
    ],
)
def test_the_installed_command_says_nothing_but_the_one_line(here, files, trained, arguments):
    done = script(*filled(arguments, files))
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_line(done.stderr, arguments[0])
    assert list(here.iterdir()) == []


def test_debug_shows_where_a_mistake_was_found(here, files, capsys):
    assert run("info", "nowhere.tif", "--debug") == 2
    message = capsys.readouterr().err
    assert "Traceback" in message
    assert message.splitlines()[-1].startswith("tfcyclegan3d info: nowhere.tif")


# ---- existing outputs


def content_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_existing_run_is_refused_before_any_work_and_stays_as_it_is(here, files, trained, capsys):
    before = content_of(trained)
    assert run("train", "--images", files / "cells.tif", "-o", trained, *TINY) == 2
    assert_one_line(capsys.readouterr().err, "exists already")
    assert run("train", "--demo", "-o", trained, *TINY) == 2
    assert_one_line(capsys.readouterr().err, "exists already")
    assert content_of(trained) == before


@pytest.mark.parametrize("name", ["cells", "cell[1]", "cell*"])
def test_an_existing_prediction_is_refused_and_replaced_only_when_asked(here, files, trained, capsys, name):
    shutil.copy(files / "cells.tif", here / f"{name}.tif")
    (here / "out").mkdir()
    (here / "out" / "notes.txt").write_text("mine")
    for taken in (f"{name}_mask.tif", f"{name}_mask.png"):
        (here / "out" / taken).write_text("mine")
        arguments = ("predict", trained, "--images", f"{name}.tif", "-o", "out", "--quiet")
        assert run(*arguments) == 2
        assert_one_line(capsys.readouterr().err, taken)
        assert content_of(here / "out").keys() == {here / "out" / "notes.txt", here / "out" / taken}
        assert (here / "out" / taken).read_text() == "mine"
        (here / "out" / taken).unlink()
    (here / "out" / f"{name}_mask.tif").write_text("mine")
    assert run(*arguments, "--overwrite") == 0
    assert read_volume(here / "out" / f"{name}_mask.tif").shape == (20, 48, 52)
    assert (here / "out" / "notes.txt").read_text() == "mine"


# ---- simulate


def test_simulate_writes_stacks_whose_truth_and_objects_agree(here, capsys):
    assert run("simulate", "--count", 2, "--shape", "16,40,44", "-o", "sim", "--quiet") == 0
    names = {f"{what}_00{i}.tif" for what in ("stack", "truth", "objects") for i in range(2)}
    names |= {"objects_000.csv", "objects_001.csv", "microscope.yaml", "prior.yaml"}
    assert {path.name for path in (here / "sim").iterdir()} == names
    assert load_microscope(here / "sim" / "microscope.yaml") == CLEAN
    stacks = []
    for i in range(2):
        stack, truth, objects = (read_volume(here / "sim" / f"{w}_00{i}.tif") for w in ("stack", "truth", "objects"))
        assert stack.array.shape == truth.array.shape == objects.array.shape == (16, 40, 44, 2)
        assert stack.array.dtype == np.uint16
        assert set(np.unique(truth.array)) == {0, 255}
        np.testing.assert_array_equal(truth.array == 255, objects.array > 0)
        for k in range(2):
            inside = truth.array[..., k] > 0
            assert stack.array[..., k][inside].mean() > 1.5 * stack.array[..., k][~inside].mean()
        oracle = simulate_stack((16, 40, 44), seed=(0, i))
        np.testing.assert_array_equal(stack.array, oracle.image.array)
        np.testing.assert_array_equal(objects.array, oracle.truth.objects)
        stacks.append(stack.array)
    assert (stacks[0] != stacks[1]).any()
    assert "golgi, nuclei" in capsys.readouterr().out


def test_simulate_repeats_by_its_seed_and_refuses_to_replace(here, capsys):
    arguments = ("simulate", "--count", 1, "--shape", "8,30,30", "--quiet", "-o")
    for name, options in (("a", ()), ("b", ()), ("c", ("--seed", 1)), ("d", ("--hard",))):
        assert run(*arguments, name, *options) == 0
    one, again, other, hard = (
        {path.name: path.read_bytes() for path in sorted((here / name).iterdir())} for name in "abcd"
    )
    assert one == again
    assert all(one[name] != other[name] for name in one if name.endswith(".tif"))
    assert one["objects_000.tif"] == hard["objects_000.tif"]
    assert one["stack_000.tif"] != hard["stack_000.tif"]
    before = content_of(here)
    assert run(*arguments, "a", "--seed", 2) == 2
    assert_one_line(capsys.readouterr().err, "exists already")
    assert content_of(here) == before
    (here / "a" / "stack_001_raw.tif").write_text("mine")
    assert run(*arguments, "a", "--seed", 1, "--overwrite") == 0
    assert (here / "a" / "stack_001_raw.tif").read_text() == "mine"
    (here / "a" / "stack_001_raw.tif").unlink()
    assert {path.name: path.read_bytes() for path in sorted((here / "a").iterdir())} == other


def simulated(folder, i=0):
    return [read_volume(folder / f"{what}_00{i}.tif") for what in ("stack", "truth", "objects")]


@pytest.mark.parametrize(("name", "microscope"), [("clean", CLEAN), ("hard", HARD), ("any", ANY)])
def test_simulate_sees_its_stacks_through_the_microscope_named_and_says_which(here, name, microscope):
    arguments = ("simulate", "--count", 1, "--shape", "8,30,30", "--quiet", "-o")
    assert run(*arguments, "named", "--microscope", name) == 0
    oracle = simulate_stack((8, 30, 30), microscope=microscope, seed=(0, 0))
    np.testing.assert_array_equal(simulated(here / "named")[0].array, oracle.image.array)
    assert load_microscope(here / "named" / "microscope.yaml") == microscope
    # What it wrote can be given back.
    assert run(*arguments, "again", "--microscope", here / "named" / "microscope.yaml") == 0
    assert {path.name: path.read_bytes() for path in (here / "named").iterdir()} == {
        path.name: path.read_bytes() for path in (here / "again").iterdir()
    }


def test_simulate_hard_is_short_for_the_hard_microscope(here):
    assert run("simulate", "--count", 1, "--shape", "8,30,30", "--hard", "-o", "sim", "--quiet") == 0
    assert load_microscope(here / "sim" / "microscope.yaml") == HARD


def test_simulate_draws_the_prior_given_one_channel_a_class_with_the_bits_and_voxel_size_asked_for(here, capsys):
    prior = prior_for({"er": 9, "nuclei": 12, "vesicles": 6}, 0.07)
    save_prior(prior, here / "three.json")
    arguments = ("--prior", "three.json", "--bits", 8, "--voxel-size", "0.5,0.25,0.25")
    assert run("simulate", "--count", 1, "--shape", "16,40,44", *arguments, "-o", "sim", "--quiet") == 0
    stack, truth, objects = simulated(here / "sim")
    assert stack.array.shape == truth.array.shape == objects.array.shape == (16, 40, 44, 3)
    assert stack.array.dtype == np.uint8
    assert stack.voxel_size_um == truth.voxel_size_um == objects.voxel_size_um == (0.5, 0.25, 0.25)
    np.testing.assert_array_equal(objects.array, simulate_stack((16, 40, 44), prior, seed=(0, 0)).truth.objects)
    for k in range(3):
        inside = truth.array[..., k] > 0
        assert stack.array[..., k][inside].mean() > 1.5 * stack.array[..., k][~inside].mean()
    assert "channels er, nuclei, vesicles" in capsys.readouterr().out


# ---- the whole way


def test_a_prediction_by_a_training_that_has_not_ended_says_so(here, files, trained, capsys):
    shutil.copytree(trained, here / "run")
    capsys.readouterr()
    arguments = ("--images", files / "cells.tif", "--quiet")
    assert run("predict", "run", *arguments, "-o", "masks") == 0
    assert capsys.readouterr().err == ""
    manifest = json.loads((here / "run" / "manifest.json").read_text())
    for verdict in ("running", "interrupted"):
        (here / "run" / "manifest.json").write_text(json.dumps(manifest | {"verdict": verdict}))
        assert run("predict", "run", *arguments, "-o", verdict) == 0
        assert f"warning: run: its training is {verdict}, not finished" in capsys.readouterr().err


def test_a_prediction_of_stacks_of_other_voxels_says_so(here, files, trained, capsys):
    trained_on = json.loads((trained / "manifest.json").read_text())["voxel_size_um"]
    stack = read_volume(files / "cells.tif")
    for name, factor in (("same", 1.04), ("finer", 0.5), ("coarser", 2)):
        write_volume(here / f"{name}.tif", Volume(stack.array, tuple(factor * side for side in trained_on)))
    capsys.readouterr()
    assert run("predict", trained, "--images", "same.tif", "finer.tif", "coarser.tif", "--quiet", "-o", "masks") == 0
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("warning: finer and 1 more: voxels of ")


def test_train_predict_and_evaluate_go_the_whole_way(here, files, trained, capsys):
    (here / "images").mkdir()
    shutil.copy(files / "cells.tif", here / "images" / "b.tif")
    write_volume(here / "images" / "a.tif", simulate_stack((17, 41, 40), seed=3).image)
    capsys.readouterr()
    assert run("predict", trained, "--images", "images", "-o", "masks", "--probabilities", "--quiet") == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said] == ["masks/a_mask.tif", "masks/b_mask.tif"]
    names = {f"{name}_{what}" for name in "ab" for what in ("mask.tif", "mask.png", "probability.tif")}
    assert {path.name for path in (here / "masks").iterdir()} == names

    model = load_model(trained)
    for name, voxel_size in (("a", None), ("b", VOXEL_SIZE)):
        image = read_volume(here / "images" / f"{name}.tif")
        mask, probability = (read_volume(here / "masks" / f"{name}_{what}.tif") for what in ("mask", "probability"))
        np.testing.assert_allclose(probability.array, model.predict(image).array, atol=1e-6)
        np.testing.assert_array_equal(mask.array, np.where(probability.array > 0.5, 255, 0))
        for volume in (mask, probability):
            assert volume.voxel_size_um == (pytest.approx(voxel_size) if voxel_size else None)
        assert mask.array.dtype == np.uint8

    truths = [simulate_stack((17, 41, 40), seed=3).truth, simulate_stack((20, 48, 52), seed=1).truth]
    for name, truth in zip("ab", truths, strict=True):
        write_volume(here / f"truth_{name}.tif", Volume(truth.array, VOXEL_SIZE if name == "b" else None))
    arguments = ("--prediction", "masks", "--truth", "truth_a.tif", "truth_b.tif", "--json", "scores.json")
    assert run("evaluate", *arguments) == 0
    document = json.loads((here / "scores.json").read_text())
    scores = [
        evaluate(read_volume(here / "masks" / f"{name}_mask.tif"), truth)
        for name, truth in zip("ab", truths, strict=True)
    ]
    for name in ("golgi", "nuclei"):
        for figure in ("dice", "precision", "recall"):
            mean = np.mean([getattr(score[name], figure) for score in scores])
            assert document["classes"][name][figure] == pytest.approx(mean)
    assert "nuclei" in capsys.readouterr().out


def test_train_writes_a_run_folder_and_says_what_comes_next(eagerly, here, files, capsys):
    arguments = ("--images", files / "cells.tif", "--object-diameter", "nuclei=9", "--seed", 7)
    assert run("train", *arguments, "-o", "run", *TINY) == 0
    printed = capsys.readouterr()
    assert "run: finished; look at run/report.html" in printed.out
    assert f"next: tfcyclegan3d predict run --images {files / 'cells.tif'} -o masks" in printed.out
    # What said how to read the stack is said again.
    reading = ("--axes", "ZCYX", "--channels", "0,1", "--voxel-size", "0.5,0.25,0.25")
    assert run("train", *arguments, "-o", "again", *TINY, *reading) == 0
    said = f"--images {files / 'cells.tif'} --axes ZCYX --channels 0,1 --voxel-size 0.5,0.25,0.25 -o masks"
    assert f"next: tfcyclegan3d predict again {said}" in capsys.readouterr().out
    manifest = json.loads((here / "run" / "manifest.json").read_text())
    config = json.loads((here / "run" / "config.json").read_text())
    assert (manifest["seed"], config["seed"], config["training"]["steps_per_epoch"]) == (7, 7, 2)
    assert config["synthesis"]["diameters"] == {"nuclei": "9"}
    assert manifest["command"].startswith("tfcyclegan3d")


def test_a_threshold_of_ones_own_is_used(here, files, trained):
    arguments = ("predict", trained, "--images", files / "cells.tif", "--probabilities", "--quiet", "-o")
    assert run(*arguments, "low", "--threshold", 0.3) == 0
    probability = read_volume(here / "low" / "cells_probability.tif").array
    np.testing.assert_array_equal(read_volume(here / "low" / "cells_mask.tif").array > 0, probability > 0.3)


def test_channels_are_put_into_the_order_asked_for(here, files, trained):
    volume = read_volume(files / "cells.tif")
    swapped = np.concatenate([volume.array[..., ::-1], noise((20, 48, 52, 1), np.uint16)], axis=-1)
    write_volume(here / "swapped.tif", Volume(swapped, VOXEL_SIZE))
    arguments = ("predict", trained, "--images", "swapped.tif", "--channels", "1,0", "--probabilities", "-o", "out")
    assert run(*arguments, "--quiet") == 0
    wanted = load_model(trained).predict(volume).array
    np.testing.assert_allclose(read_volume(here / "out" / "swapped_probability.tif").array, wanted, atol=1e-6)


# Older tifffile takes an X of length 1 for colour samples.
one_voxel_wide = pytest.param(
    (3, 2, 1), marks=pytest.mark.skipif(tifffile.__version__ < "2026", reason="this tifffile misreads an X of length 1")
)


@pytest.mark.parametrize("shape", [(5, 7, 9), (1, 12, 11), (4, 1, 6), (3, 2, 2), one_voxel_wide])
def test_a_stack_smaller_than_a_patch_is_segmented(here, trained, shape):
    write_volume(here / "small.tif", Volume(noise((*shape, 2))))
    assert run("predict", trained, "--images", "small.tif", "-o", "out", "--quiet") == 0
    assert read_volume(here / "out" / "small_mask.tif").array.shape == (*shape, 2)


@pytest.mark.parametrize("given", [["golgi=5", "nuclei=9"], ["golgi=5, nuclei=9"]])
def test_diameters_count_beside_the_configuration_of_an_earlier_run(eagerly, here, files, trained, given):
    diameters = [argument for text in given for argument in ("--object-diameter", text)]
    arguments = ("--images", files / "cells.tif", *diameters)
    assert run("train", *arguments, "--config", trained / "config.json", "-o", "run", "--quiet") == 0
    earlier, later = (json.loads((path / "config.json").read_text()) for path in (trained, here / "run"))
    assert later["model"] == earlier["model"]
    axes = {one["name"]: one["semi_axes"][0] for one in later["synthesis"]["prior"]["objects"]}
    # The stack's voxels are 0.25 um wide.
    assert axes == {"golgi": pytest.approx([0.4375, 0.8125]), "nuclei": pytest.approx([0.7875, 1.4625])}


def test_a_prior_leaves_no_diameters_of_an_earlier_run(tmp_path):
    from tfcyclegan3d.cli import train

    save_prior(prior_for({"golgi": 5, "nuclei": 9}, 0.1), tmp_path / "prior.yaml")
    given = ["train", "--images", "cells.tif", "-o", "run", "--prior", str(tmp_path / "prior.yaml")]
    options = command_line.build_parser().parse_args(given)
    options.seed, options.seed_given = 0, False
    changes = train._changes(options)
    assert changes["synthesis.prior"]["objects"][1]["name"] == "nuclei"
    assert changes["synthesis.diameters"] is None


def test_a_stack_smaller_than_a_patch_can_be_trained_on(eagerly, here):
    write_volume(here / "small.tif", simulate_stack((9, 30, 14), seed=2).image)
    assert run("train", "--images", "small.tif", "-o", "run", "--quiet", *TINY) == 0
    assert load_model(here / "run").predict(read_volume(here / "small.tif")).shape == (9, 30, 14)


# ---- demo


def test_the_demo_trains_and_scores_a_stack_it_held_out_beside_otsu(eagerly, here, monkeypatch, capsys):
    from tfcyclegan3d.experiments import demo

    monkeypatch.setattr(demo, "SHAPE", (20, 48, 52))
    assert run("train", "--demo", "-o", "run", "--quiet", *TINY) == 0
    made = here / "run" / "demo"
    assert {path.name for path in made.iterdir()} == {
        "stack.tif",
        "truth.tif",
        "mask.tif",
        "scores.json",
        "held_out.png",
        "objects.tif",
        "polarity.png",
        *(f"stack_{ending}" for ending in ENDINGS if "parquet" not in ending),
    }
    stack, truth, mask = (read_volume(made / f"{name}.tif") for name in ("stack", "truth", "mask"))
    held_out = simulate_stack((20, 48, 52), seed=(demo.DATA_SEED, 0, demo.N_TRAINING_STACKS))
    np.testing.assert_array_equal(stack.array, held_out.image.array)
    np.testing.assert_array_equal(truth.array > 0, held_out.truth.array > 0)
    np.testing.assert_array_equal(mask.array > 0, load_model(here / "run").segment(stack).array)
    for name in ("stack", "truth", "mask", "objects"):
        with tifffile.TiffFile(made / f"{name}.tif") as file:
            assert [lut[:, 255].tolist() for lut in file.imagej_metadata["LUTs"]] == [[255, 0, 0], [0, 255, 0]]
    scores = json.loads((made / "scores.json").read_text())
    masks = {"cyclegan": mask, "otsu": otsu_mask(stack.array, 0), "smoothed otsu": otsu_mask(stack.array, 1)}
    assert scores.keys() == masks.keys()
    for method, predicted in masks.items():
        for name, score in evaluate(predicted, truth).items():
            wanted = {"dice": score.dice, "precision": score.precision, "recall": score.recall}
            assert scores[method][name] == pytest.approx(wanted)
    assert scores["smoothed otsu"]["nuclei"]["dice"] > 0.5
    inputs = json.loads((here / "run" / "manifest.json").read_text())["inputs"]
    assert len(inputs) == demo.N_TRAINING_STACKS
    printed = capsys.readouterr().out
    assert "cyclegan" in printed
    assert "held_out.png" in printed
    page = (here / "run" / "report.html").read_text()
    assert base64.b64encode((made / "held_out.png").read_bytes()).decode() in page
    assert "Its objects" in page and base64.b64encode((made / "polarity.png").read_bytes()).decode() in page
    for line in printed.splitlines()[:7]:
        assert f"{line}\n" in page or f"{line}</pre>" in page
    assert page.count("A stack held out") == page.count("</html>") == 1
