"""Every command of the README and the documentation is one the package takes, and does what the page says it does.

The commands of a page run one after another, in a folder of their own that holds what the page takes for granted
(``inputs``), on small stacks. Trainings are shortened to the toy of ``tests.toy``, whose steps are arithmetic; reading,
checking and writing are real, and so are all other commands. A prediction or an export with the same options as one
before it is not made again: a threshold's masks take its place, for the commands that follow. Comparisons have their
options checked and their stacks found. What takes long in itself is run by the test that ``ELSEWHERE`` names.

Python of a page is run as it stands, its trainings shortened alike; predictions are real.
"""

import re
import shlex
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

import tfcyclegan3d as tc
from tfcyclegan3d import config as configuration
from tfcyclegan3d.cli import crossval
from tfcyclegan3d.cli import main as command_line
from tfcyclegan3d.experiments import comparison_demo, data_layout
from tfcyclegan3d.thresholding import otsu_mask
from tfcyclegan3d.training import networks
from tfcyclegan3d.training import run as running
from tfcyclegan3d.training.preparation import prepare
from tfcyclegan3d.volumes import Volume, find_images, read_volume, write_volume

TOP = Path(__file__).parents[1]
# Its commands end in errors, which tests/test_errors_page.py provokes.
ERRORS = TOP / "docs" / "errors.md"
PAGES = [
    *(TOP / name for name in ("README.md", "data_README.md", "CONTRIBUTING.md")),
    *sorted((TOP / "docs").rglob("*.md")),
]
OURS = ("tfcyclegan3d", "tfcyclegan3d-train")
# Of what else stands in a console block, nothing is run.
FOREIGN = {
    ".",
    "bioimageio",
    "dask",
    "export",
    "lint-imports",
    "mkdocs",
    "mypy",
    "pip",
    "pre-commit",
    "pytest",
    "python3",
    "ruff",
}
ELSEWHERE = {
    ("train", "--demo"): "test_command_line.py::test_the_demo_trains_and_scores_a_stack_it_held_out_beside_otsu",
    ("predict", "--scheduler"): "test_spreading.py::test_a_cluster_of_ones_own_makes_the_same",
    ("crossval", "--demo"): "test_documented_commands.py::test_the_demo_of_the_comparison_runs",
}
PYTHON_ELSEWHERE = {
    "docs/export.md": "test_export.py::test_tensorflow_alone_loads_a_saved_model_and_gives_the_package_results"
}
SETTINGS = (
    *("model.filters=2", "model.blocks=1", "model.end_kernel=3", "training.patch_shape=[16,16,16]"),
    *("synthesis.n_masks=1", "synthesis.maximum_shape=[16,32,32]", "inference.tile_shape=[16,16,16]"),
    *("inference.overlap=4", "inference.flips=none"),
)
# Beside what the command says, so that it is quick.
SHORTENED = {
    "train": [
        *("--epochs", "1", "--steps", "2", "--mixed-precision", "off"),
        *(word for setting in SETTINGS for word in ("--set", setting)),
    ],
    "crossval": ["--methods", "otsu"],
    "predict": ["--tile", "32,64,64", "--set", "inference.halo=4"],
}
SMALL = "24,40,44"


def commands_of(page):
    """Return the commands in the console blocks of a page, continued lines joined, as lists of words."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        lines = re.sub(r"(\\\n\s*|\n> )", " ", block).splitlines()
        for line in (line[2:] for line in lines if line.startswith("$ ")):
            found += [shlex.split(part) for part in re.split(r" && ", line)]
    return found


def of_the_package(words):
    """Return the arguments of the command within the words, without what stands before it, or None."""
    at = next((k for k, word in enumerate(words) if word in OURS), None)
    if at is None:
        return None
    assert all("=" in word for word in words[:at]) or words[0] == "timeout", words
    return [*(["train"] if words[at] == "tfcyclegan3d-train" else []), *words[at + 1 :]]


def shortened(arguments):
    command = arguments[0]
    asked = [SMALL if before == "--shape" else word for before, word in zip(["", *arguments], arguments, strict=False)]
    if command == "crossval" and "--seed" in asked and "--resume" in asked:
        asked += ["--seeds", "1"]
    again = ["--overwrite"] if "--resume" not in asked else []
    return [*asked, *SHORTENED.get(command, []), *again, "--quiet"]


def cells(n_channels=1, seed=0):
    """A stack of bright boxes on noise, and where they are."""
    drawn = np.random.default_rng(seed)
    truth = np.zeros((24, 40, 44, n_channels), bool)
    for place in drawn.integers(0, 30, (12, 2)):
        z, (y, x) = drawn.integers(2, 14), place
        truth[z : z + 8, y : y + 9, x : x + 9] = True
    image = drawn.normal(40, 6, truth.shape) + 120 * truth
    return Volume(image.clip(1, 255).astype(np.uint8), (0.5, 0.25, 0.25)), Volume(truth)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """The files and folders that pages take for granted."""
    folder = tmp_path_factory.mktemp("inputs")
    image, truth = cells()
    for name in ("stack", "8_cell_stage_raw", "1135_raw"):
        write_volume(folder / f"{name}.tif", image)
    write_volume(folder / "8_cell_stage_truth.tif", truth)
    for name in ("box_truth", "box_mask"):
        write_volume(folder / f"{name}.tif", Volume(truth.array[:20]))
    write_volume(folder / "light_sheet.zarr", image)
    write_volume(folder / "two_channels.tif", cells(2)[0])
    for name in ("stacks", "other_stacks", "plate1", "images", "truth", "FOLDER/Images", "FOLDER/Masks"):
        (folder / name).mkdir(parents=True)
    write_volume(folder / "other_stacks" / "one.tif", image)
    write_volume(folder / "plate1" / "one.tif", image)
    for k in range(3):
        image, truth = cells(seed=k)
        write_volume(folder / "images" / f"cells_{k}.tif", image)
        write_volume(folder / "truth" / f"cells_{k}.tif", truth)
        write_volume(folder / "stacks" / f"stack_{k:03d}.tif", image)
        write_volume(folder / "stacks" / f"truth_{k:03d}.tif", truth)
        image, truth = cells(2, seed=k)
        for place, values in (("Images", image.array), ("Masks", truth.array * np.uint8(255))):
            rgb = np.concatenate([values, np.zeros_like(values[..., :1])], axis=-1).transpose(1, 2, 0, 3)
            tifffile.imwrite(folder / "FOLDER" / place / f"Crop{k + 1}.tif", rgb, photometric="minisblack")
    return folder


def run(words):
    """Run one command; a training leaves networks of the right shape, which nobody trained."""
    kind = (words[0], *sorted(word for word in words if word.startswith("-")))
    if words[0] in STAND_INS and (kind in SEEN or (words[0] == "crossval" and "--demo" not in words)):
        STAND_INS[words[0]](command_line.build_parser().parse_args(words))
        return
    SEEN.add(kind)
    assert command_line.main(words) == 0, words
    if words[0] == "train":
        add_networks(Path(words[words.index("-o") + 1]))


SEEN = set()  # Commands with their options, without values.


def thresholded(options):
    """Write what ``predict`` would, as a threshold finds it."""
    options.output.mkdir(exist_ok=True)
    for path in find_images(options.images):
        found = otsu_mask(read_volume(path, options.axes, options.channels).array)
        write_volume(options.output / f"{path.stem}_mask.tif", Volume(found))


def copied(options):
    """Write an export of which nothing but the network is used."""
    shutil.copytree(options.trained, options.output, dirs_exist_ok=True)


def checked(options):
    """Check the options of a comparison, and find its stacks; one is made by the test of its demo."""
    options.seed = options.seed or 0  # As the command line does.
    crossval._check(options)
    crossval._settings(options)
    if options.layout == "authors":
        stacks = data_layout.authors_layout(options.images[0])
    else:
        stacks = data_layout.plain_layout(options.images, options.truth, options.axes, options.channels)
    assert len(stacks.images) == 3


STAND_INS = {"predict": thresholded, "export": copied, "crossval": checked}


def add_networks(run_folder):
    config = configuration.load(run_folder / "config.json")
    n_classes = len(config.classes)
    made = networks.generator_of(config.model, n_classes, "float32", 0, "image_to_mask", config.n_mask_channels)
    made.save(run_folder / "image_to_mask.keras")


ALL = [(page, words) for page in PAGES for words in commands_of(page)]


@pytest.mark.parametrize(
    ("page", "words"), ALL, ids=[f"{page.relative_to(TOP)}: {shlex.join(words)}"[:150] for page, words in ALL]
)
def test_a_command_of_a_page_is_taken_as_it_stands(page, words, capsys):
    arguments = of_the_package(words)
    if arguments is None:
        assert words[0] in FOREIGN or (words[0] == "python" and (words[1] == "-c" or (TOP / words[1]).is_file()))
        return
    try:
        command_line.build_parser().parse_args(arguments)
    except SystemExit as stopped:
        assert stopped.code == 0 and arguments == ["--version"], capsys.readouterr().err


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page != ERRORS], ids=lambda page: str(page.relative_to(TOP))
)
def test_the_commands_of_a_page_run_one_after_another(page, inputs, tmp_path, monkeypatch, toy, capsys):
    todo = commands_of(page)
    if not any(of_the_package(words) for words in todo):
        return
    monkeypatch.setattr(running, "prepare", prepare)  # Of every training anew: their stacks differ.
    monkeypatch.chdir(inputs)
    if not (inputs / "run").exists():
        run(shortened(["train", "--images", "stack.tif", "-o", "run"]))
    shutil.copytree(inputs, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    for words in todo:
        arguments = of_the_package(words)
        if words[:2] == ["python", "-c"] and "tensorflow" not in words[2]:
            exec(compile(words[2], str(page), "exec"), {})
        elif arguments and arguments != ["--version"] and not elsewhere(arguments):
            run(shortened(arguments))


def elsewhere(arguments):
    return next((test for (command, option), test in ELSEWHERE.items() if {command, option} <= {*arguments}), None)


def test_the_demo_of_the_comparison_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(comparison_demo, "SHAPE", (24, 40, 44))
    run(shortened(["crossval", "--demo", "-o", "compared"]))
    assert (tmp_path / "compared" / "table2.md").exists()


def python_of(page):
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


WITH_PYTHON = [page for page in PAGES if python_of(page)]


@pytest.fixture
def short_trainings(monkeypatch, toy):
    """Make trainings in Python as short as those of commands, with networks that can be loaded."""
    monkeypatch.setattr(running, "prepare", prepare)
    changes = configuration.parse_assignments(
        [*SETTINGS, "training.epochs=1", "training.steps_per_epoch=2", "training.mixed_precision=off"]
    )
    fast, train = tc.presets.fast, running.train

    def trained(*arguments, output, **options):
        finished = train(*arguments, output=output, progress=False, **options)
        add_networks(Path(output))
        return finished

    monkeypatch.setattr(tc.presets, "fast", lambda: fast().replace(changes))
    monkeypatch.setattr(running, "train", trained)


@pytest.fixture
def viewer(monkeypatch):
    """What napari was given to show; it is no dependency."""
    shown = {}
    napari = SimpleNamespace(
        add_labels=lambda array, name, scale: shown.update({name: (array, scale)}),
        add_vectors=lambda vectors, scale: shown.update(vectors=(np.array(vectors), scale)),
    )
    monkeypatch.setitem(sys.modules, "napari", SimpleNamespace(Viewer=lambda: napari))
    return shown


def test_the_pages_with_python_are_known():
    named = {str(page.relative_to(TOP)) for page in WITH_PYTHON}
    assert named == {"docs/reference/python.md", *PYTHON_ELSEWHERE, *CHECKS}


@pytest.mark.parametrize(
    "page",
    [page for page in WITH_PYTHON if str(page.relative_to(TOP)) not in PYTHON_ELSEWHERE],
    ids=lambda page: str(page.relative_to(TOP)),
)
def test_the_python_of_a_page_runs(page, inputs, tmp_path, monkeypatch, short_trainings, viewer):
    write_volume(tmp_path / "stack.tif", read_volume(inputs / "stack.tif"))
    monkeypatch.chdir(tmp_path)
    if page.name == "objects.md":
        boxes = np.stack([tc.label_objects(cells(seed=seed)[1].array[..., 0]) for seed in (1, 2)], axis=-1)
        write_volume("cells_objects.tif", Volume(boxes, (0.5, 0.25, 0.25)))
        assert command_line.main(["measure", "--labels", "cells_objects.tif", "-o", "objects", "--quiet"]) == 0
        shutil.move("cells_objects.tif", "objects")
    names = {}
    for block in python_of(page):
        exec(compile(block, str(page), "exec"), names)
    CHECKS.get(str(page.relative_to(TOP)), lambda *_: None)(names, viewer)


def check_segmented(names, _):
    probabilities = names["probabilities"].array
    assert probabilities.shape == names["volume"].array.shape
    assert 0 <= probabilities.min() < probabilities.max() <= 1
    assert ((read_volume("mask.tif").array > 0) == (probabilities > 0.5)).all()
    assert names["config"].synthesis.diameters == {"nuclei": 16}
    assert Path("run/report.html").is_file()


def check_drawn(names, _):
    assert tc.load_prior("prior.yaml") == names["fit"].prior
    assert names["fit"].prior.unit == "um"
    for drawn in (names["masks"], names["stack"].image):
        assert drawn.array.shape == names["volume"].array.shape
        assert drawn.voxel_size_um == (1.0, 0.5, 0.5)


def check_viewed(names, viewer):
    assert {"golgi", "nuclei", "vectors"} == viewer.keys()
    vectors, scale = viewer["vectors"]
    assert vectors.shape == (len(names["pairs"]), 2, 3)
    assert len(vectors) > 0
    assert scale == viewer["golgi"][1] == pytest.approx((0.5, 0.25, 0.25))
    assert viewer["nuclei"][0].max() > 1


CHECKS = {
    "README.md": check_segmented,
    "docs/index.md": check_segmented,
    "docs/synthetic-masks.md": check_drawn,
    "docs/objects.md": check_viewed,
}


@pytest.mark.parametrize("name", [*ELSEWHERE.values(), *PYTHON_ELSEWHERE.values()])
def test_what_is_run_elsewhere_is_run_there(name):
    file, _, test = name.partition("::")
    assert f"def {test}(" in (TOP / "tests" / file).read_text(encoding="utf-8")
