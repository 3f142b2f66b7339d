"""Exported models: what others load gives what the package gives, and nothing foreign is ever run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml

import tfcyclegan3d as tc
from tfcyclegan3d import errors, preprocessing
from tfcyclegan3d.cli.main import main
from tfcyclegan3d.exporting import operations
from tfcyclegan3d.exporting.export import export_model
from tfcyclegan3d.exporting.served import ServedModel
from tfcyclegan3d.inference.predictor import SegmentationModel
from tfcyclegan3d.models.outputs import halved_at
from tfcyclegan3d.models.portable import in_float32, portable
from tfcyclegan3d.models.resnet_generator import resnet_generator
from tfcyclegan3d.models.strides import multiple_of
from tfcyclegan3d.models.trained import load_network, load_trained
from tfcyclegan3d.models.unet import unet
from tfcyclegan3d.models.vox2vox import vox2vox_generator
from tfcyclegan3d.training.run_folder import CONTENTS
from tfcyclegan3d.volumes import Volume

from .tiny import TINY

SETTLED = TINY.replace({"classes": ["golgi", "nuclei"], "preprocessing.downsampling": [1, 2, 3]})
MANIFEST = {
    "version": "0.1.0",
    "command": "tfcyclegan3d train --images /home/someone/stack.tif",
    "method": "cyclegan",
    "seed": 7,
    "verdict": "finished",
    "inputs": [{"name": "stack.tif", "sha256": "abc"}],
    "machine": {"platform": "secret"},
    "selected": {"epoch": 3},
}
BOTH = {
    *("README.md", "model.json", "config.json", "rdf.yaml", "test_input.npy", "test_output.npy"),
    *("image_to_mask.keras", "image_to_probability.keras"),
}
SAVED_MODEL = {*BOTH, "saved_model.pb", "saved_model.zip", "fingerprint.pb", "variables"}
# No package of ours, and nothing of Keras but its name, which TensorFlow looks up.
ISOLATED = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tfcyclegan3d" or name.startswith("keras."):
            raise ImportError(name)

sys.meta_path.insert(0, Refuse())
"""


def lively(network):
    """Give a network weights whose outputs differ from voxel to voxel and from channel to channel."""
    rng = np.random.default_rng(0)
    network.set_weights(
        [
            np.abs(w) + rng.uniform(0, 0.1, w.shape) if "variance" in v.path else w + rng.normal(0, 0.2, w.shape)
            for v, w in zip(network.weights, network.get_weights(), strict=True)
        ]
    )
    return network


def write_run(folder, network, config=SETTLED, manifest=MANIFEST):
    folder.mkdir(parents=True)
    network.save(folder / "image_to_mask.keras")
    config.save(folder / "config.json")
    if manifest is not None:
        (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def resnet(n_channels=2, dtype="mixed_bfloat16"):
    return lively(resnet_generator(n_channels, n_channels, filters=4, blocks=1, end_kernel=3, dtype=dtype))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run folder, as far as an export looks at one."""
    return write_run(tmp_path_factory.mktemp("runs") / "cells", resnet())


@pytest.fixture(scope="module")
def exported(finished, tmp_path_factory):
    output = tmp_path_factory.mktemp("exports") / "model"
    assert main(["export", str(finished), "-o", str(output), "--quiet"]) == 0
    return output


def random(*shape, seed=0, low=-1.0, high=1.0):
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


# ---- operations

SHAPES = [(5, 7, 9), (8, 8, 8), (1, 1, 1), (1, 6, 2), (13, 3, 4)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("factors", [(1, 1, 1), (1, 2, 3), (2, 2, 2), (4, 1, 8)])
def test_the_grid_becomes_coarser_and_finer_as_the_package_makes_it(shape, factors):
    batch = random(2, *shape, 2, high=500)
    coarse = operations.downsample(tf.constant(batch), factors).numpy()
    fine = operations.upsample(tf.constant(coarse), factors, tf.constant(shape)).numpy()
    for given, small, large in zip(batch, coarse, fine, strict=True):
        np.testing.assert_allclose(small, preprocessing.downsample(given, factors), rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(large, preprocessing.upsample(small, factors, shape), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("percentiles", [(1.0, 99.8), ((95.0, 99.8), (95.0, 98.0)), (0.0, 100.0), (33.3, 66.7)])
def test_contrast_is_stretched_as_the_package_does_it(shape, percentiles):
    batch = np.random.default_rng(1).gamma(2, 100, (3, *shape, 2)).astype(np.float32)
    wanted = [preprocessing.stretch(one, preprocessing.stretch_bounds(one, percentiles)) for one in batch]
    np.testing.assert_allclose(operations.stretch(tf.constant(batch), percentiles), wanted, atol=2e-6)


@pytest.mark.parametrize("value", [0.0, 3.0, -5.0])
@pytest.mark.parametrize("n_others", [0, 1, 63])
def test_a_stack_that_is_constant_almost_everywhere_is_stretched_as_the_package_does_it(value, n_others):
    flat = np.full(64, value, np.float32)
    flat[:n_others] += 10
    stack = flat.reshape(4, 4, 4, 1)
    wanted = preprocessing.stretch(stack, preprocessing.stretch_bounds(stack, (5.0, 95.0)))
    assert np.isfinite(wanted).all()
    np.testing.assert_allclose(operations.stretch(tf.constant(stack[np.newaxis]), (5.0, 95.0))[0], wanted, atol=1e-6)


@pytest.mark.parametrize("shape", [*SHAPES, (2, 3, 16)])
@pytest.mark.parametrize("multiple", [4, 16])
def test_padding_is_that_of_the_package_and_cropping_undoes_it(shape, multiple):
    batch = random(2, *shape, 1)
    padding = [(0, -side % multiple) for side in shape]
    padded = operations.pad_to_multiple(tf.constant(batch), multiple)
    np.testing.assert_array_equal(padded, np.pad(batch, ((0, 0), *padding, (0, 0)), mode="reflect"))
    np.testing.assert_array_equal(operations.crop(padded, tf.constant(shape)), batch)


# ---- networks

NETWORKS = {
    "resnet": (resnet, 4),
    "unet": (lambda: lively(unet(2, 2, filters=2, dtype="mixed_bfloat16")), 8),
    "shallow unet": (lambda: lively(unet(2, 2, filters=2, levels=1)), 2),
    "vox2vox": (lambda: lively(vox2vox_generator(2, 2, filters=2)), 16),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_copies_for_others_give_what_the_network_gives_in_float32(name, tmp_path):
    build, multiple = NETWORKS[name]
    network = build()
    assert multiple_of(network) == multiple
    batch = random(1, multiple, 2 * multiple, multiple, 2)
    full = in_float32(network)
    wanted = (full(batch, training=False).numpy() + 1) / 2
    assert wanted.std() > 0.01
    assert all(layer.compute_dtype == "float32" for layer in full.layers)
    others = portable(network)
    np.testing.assert_allclose(others(batch, training=False), wanted, atol=2e-5)
    others.save(tmp_path / "others.keras")
    assert b"tfcyclegan3d" not in zipfile.ZipFile(tmp_path / "others.keras").read("config.json")
    np.testing.assert_allclose(ServedModel(network, SETTLED).predict_patches(batch)["probabilities"], wanted, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "shape"), [("resnet", (18, 40, 60)), ("unet", (5, 14, 19)), ("vox2vox", (50, 98, 147))]
)
def test_a_stack_given_in_one_go_is_segmented_as_the_package_does_it(name, shape):
    network = NETWORKS[name][0]()
    served, model = ServedModel(network, SETTLED), SegmentationModel(in_float32(network), SETTLED)
    stacks = np.random.default_rng(2).gamma(2, 100, (2, *shape, 2)).astype(np.float32)
    found = served.predict_intensities(stacks)["probabilities"].numpy()
    for stack, probabilities in zip(stacks, found, strict=True):
        # Statistics of few voxels magnify rounding.
        np.testing.assert_allclose(probabilities, model.predict(Volume(stack)).array, atol=1e-3)


def test_outlines_that_a_run_moved_are_moved_for_everybody(tmp_path):
    run = write_run(tmp_path / "run", resnet(dtype="float32"))
    stack, patches = random(1, 18, 40, 60, 2, low=0, high=900), random(1, 8, 8, 8, 2)
    found = {}
    for levels in (None, (0.5, 0.2)):
        SETTLED.replace({"inference.outline_levels": levels}).save(run / "config.json")
        folder = export_model(run, tmp_path / "model", overwrite=True)
        served = tf.saved_model.load(str(folder))
        given = {"predict_intensities": {"intensities": stack}, "predict_patches": {"patches": patches}}
        found[levels] = {
            **{name: served.signatures[name](**of)["probabilities"].numpy() for name, of in given.items()},
            "keras": keras.saving.load_model(folder / "image_to_probability.keras")(patches).numpy(),
            "package": tc.load_model(folder).predict(Volume(stack[0])).array,
            "run": tc.load_model(run).predict(Volume(stack[0])).array,
        }
    for name, learned in found[None].items():
        for k, level in enumerate((0.5, 0.2)):
            moved = found[0.5, 0.2][name]
            np.testing.assert_allclose(moved[..., k], halved_at(level, learned[..., k]), atol=1e-4)


def test_patches_of_another_size_are_refused_by_the_graph_itself():
    with pytest.raises(tf.errors.InvalidArgumentError, match="multiples of 4"):
        ServedModel(resnet(), SETTLED).predict_patches(random(1, 4, 4, 6, 2))


# ---- the folder


def test_an_export_holds_what_its_description_lists(finished, exported, tmp_path):
    export_model(finished, tmp_path / "keras", "keras")
    for folder, names in ((exported, SAVED_MODEL), (tmp_path / "keras", BOTH)):
        assert {path.name for path in folder.iterdir()} == names
        assert json.loads((folder / "model.json").read_text())["files"].keys() == names
    assert (exported / "config.json").read_text() == (finished / "config.json").read_text()


def test_tensorflow_alone_loads_a_saved_model_and_gives_the_package_results(finished, exported, tmp_path):
    network, config = load_trained(finished)
    patches = random(2, 8, 12, 16, 2)
    stack = np.random.default_rng(3).gamma(2, 100, (1, 18, 40, 60, 2)).astype(np.float32)
    np.savez(tmp_path / "given.npz", patches=patches, stack=stack)
    code = f"""{ISOLATED}
import numpy as np
import tensorflow as tf

given, model = np.load("given.npz"), tf.saved_model.load({str(exported)!r})
served = model.signatures
assert not [name for name in sys.modules if name.startswith(("keras.", "tfcyclegan3d"))]
np.savez(
    "found.npz",
    default=served["serving_default"](patches=tf.constant(given["patches"]))["probabilities"],
    patches=served["predict_patches"](patches=tf.constant(given["patches"]))["probabilities"],
    stack=served["predict_intensities"](intensities=tf.constant(given["stack"]))["probabilities"],
)
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found, full = np.load(tmp_path / "found.npz"), in_float32(network)
    wanted = (full(patches).numpy() + 1) / 2
    assert wanted.std() > 0.01
    np.testing.assert_allclose(found["patches"], wanted, atol=1e-4)
    np.testing.assert_array_equal(found["default"], found["patches"])
    predicted = SegmentationModel(full, config).predict(Volume(stack[0])).array
    np.testing.assert_allclose(found["stack"][0], predicted, atol=1e-3)


@pytest.mark.parametrize("form", ["savedmodel", "keras"])
def test_the_readme_of_an_export_does_what_it_says(finished, tmp_path, form):
    export_model(finished, tmp_path / "model", form)
    text = (tmp_path / "model" / "README.md").read_text()
    snippet = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    assert len(snippet.splitlines()) <= 10
    blocked = ISOLATED if form == "savedmodel" else ISOLATED.replace('or name.startswith("keras.")', "")
    code = f"{blocked}\n{snippet}\nnp.savez('found.npz', probabilities=probabilities, mask=mask)"
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found, wanted = np.load(tmp_path / "found.npz"), np.load(tmp_path / "model" / "test_output.npy")
    assert found["probabilities"].shape == wanted.shape
    np.testing.assert_array_equal(found["mask"], found["probabilities"] > 0.5)
    if form == "keras":  # The other takes intensities on the stack's grid.
        np.testing.assert_allclose(found["probabilities"], wanted, atol=1e-4)


def test_the_package_loads_an_export_as_it_loads_a_run(tmp_path):
    run, stack = write_run(tmp_path / "run", resnet(dtype="float32")), tc.Volume(random(9, 30, 41, 2, low=0, high=900))
    model = tc.load_model(export_model(run, tmp_path / "model", "keras"))
    assert (model.classes, model.config) == (("golgi", "nuclei"), SETTLED)
    np.testing.assert_allclose(model.predict(stack).array, tc.load_model(run).predict(stack).array, atol=1e-4)


def test_an_export_can_be_exported_again(exported, tmp_path):
    export_model(exported, tmp_path / "again", "keras")
    for name in ("test_input.npy", "test_output.npy"):
        np.testing.assert_allclose(np.load(tmp_path / "again" / name), np.load(exported / name), atol=1e-5)


def test_the_description_tells_what_a_reader_needs_and_no_paths(finished, exported):
    told = json.loads((exported / "model.json").read_text())
    assert (told["schema_version"], told["name"], told["axes"]) == (1, "cells", "BZYXC")
    assert (told["classes"], told["n_channels"]) == (["golgi", "nuclei"], 2)
    assert told["package"] == {"name": "tfcyclegan3d", "version": tc.__version__, "license": "MIT"}
    assert (told["input"]["range"], told["output"]["range"]) == ([-1, 1], [0, 1])
    assert told["input"]["spatial_multiple"] == 4
    assert told["preprocessing"] == {"downsampling": [1, 2, 3], "percentiles": [[1.0, 99.8], [1.0, 99.8]]}
    assert (told["inference"]["tile_shape"], told["inference"]["overlap"]) == ([16, 16, 16], 4)
    assert (told["threshold"], told["voxel_size_um"]) == (0.5, None)
    assert told["training"] == {
        **{key: MANIFEST[key] for key in ("version", "seed", "method", "verdict", "selected", "inputs")},
        "preset": None,
        "started": None,
    }
    assert "chosen by whoever trained" in told["weights_license"]
    for name in ("model.json", "README.md", "rdf.yaml"):
        text = (exported / name).read_text()
        assert "/home/someone" not in text
        assert "secret" not in text
        assert str(finished.parent) not in text


@pytest.mark.parametrize("manifest", [None, {}, {**MANIFEST, "voxel_size_um": [0.5, 0.25, 0.25]}])
def test_a_run_is_exported_whatever_its_manifest_tells(tmp_path, manifest):
    write_run(tmp_path / "run", resnet(), manifest=manifest)
    export_model(tmp_path / "run", tmp_path / "model", "keras", authors=["Ana Silva"], weights_license="CC-BY-4.0")
    told = json.loads((tmp_path / "model" / "model.json").read_text())
    described = yaml.safe_load((tmp_path / "model" / "rdf.yaml").read_text())
    assert described["authors"] == [{"name": "Ana Silva"}]
    assert described["license"] == told["weights_license"] == "CC-BY-4.0"
    z, y, x = (axis for axis in described["inputs"][0]["axes"] if axis["type"] == "space")
    if manifest:
        assert told["voxel_size_um"] == [0.5, 0.25, 0.25]
        assert [axis["scale"] for axis in (z, y, x)] == [0.5, 0.5, 0.75]
    else:
        assert (told["training"], told["voxel_size_um"], "scale" in z) == (None, None, False)


def test_methods_with_truth_are_exported_with_their_own_multiple(tmp_path):
    for name in ("unet", "vox2vox"):
        build, multiple = NETWORKS[name]
        config = SETTLED.replace({"method": name})
        export_model(write_run(tmp_path / name, build(), config), tmp_path / f"{name} model")
        told = json.loads((tmp_path / f"{name} model" / "model.json").read_text())
        assert told["input"]["spatial_multiple"] == multiple
        served = tf.saved_model.load(tmp_path / f"{name} model")
        patches = np.load(tmp_path / f"{name} model" / "test_input.npy")
        assert all(side % multiple == 0 for side in patches.shape[1:4])
        prepared = preprocessing.stretch(patches[0], preprocessing.stretch_bounds(patches[0], (1.0, 99.8)))[np.newaxis]
        wanted = np.load(tmp_path / f"{name} model" / "test_output.npy")
        np.testing.assert_allclose(served.predict_patches(prepared)["probabilities"], wanted, atol=1e-4)


# ---- BioImage.IO


def test_percentiles_that_bioimageio_cannot_express_are_left_out_and_the_test_is_of_stretched_patches(tmp_path):
    config = SETTLED.replace({"preprocessing.percentiles": [[95.0, 99.8], [95.0, 98.0]]})
    export_model(write_run(tmp_path / "run", resnet(), config), tmp_path / "model", "keras")
    described = yaml.safe_load((tmp_path / "model" / "rdf.yaml").read_text())["inputs"][0]
    assert "preprocessing" not in described
    assert described["data"]["range"] == [-1.0, 1.0]
    patches = np.load(tmp_path / "model" / "test_input.npy")
    assert (patches.min(), patches.max()) == (-1, 1)
    network = keras.saving.load_model(tmp_path / "model" / "image_to_probability.keras")
    np.testing.assert_allclose(network(patches), np.load(tmp_path / "model" / "test_output.npy"), atol=1e-5)


@pytest.mark.parametrize("form", ["savedmodel", "keras"])
def test_the_description_for_bioimageio_is_valid(finished, tmp_path, form):
    spec = pytest.importorskip("bioimageio.spec")
    export_model(finished, tmp_path / "model", form, authors=["Ana Silva"], weights_license="MIT")
    described = spec.load_description(tmp_path / "model" / "rdf.yaml", perform_io_checks=True)
    assert not isinstance(described, spec.InvalidDescr), described.validation_summary.format()
    assert described.validation_summary.status == "valid-format"
    assert [axis.id for axis in described.inputs[0].axes] == ["batch", "z", "y", "x", "channel"]
    assert (described.weights.tensorflow_saved_model_bundle is not None) == (form == "savedmodel")
    with zipfile.ZipFile(tmp_path / "model" / "image_to_probability.keras") as archive:
        assert archive.testzip() is None


def test_bioimageio_gets_the_test_output_from_the_test_input(exported, tmp_path, monkeypatch):
    core = pytest.importorskip("bioimageio.core")
    monkeypatch.chdir(tmp_path)  # It unpacks weights wherever it is.
    summary = core.test_description(exported / "rdf.yaml")
    failed = [str(detail.name) for detail in summary.details if detail.status == "failed"]
    assert failed == []
    assert {detail.loc for detail in summary.details if detail.name.startswith("Reproduce test outputs")} == {
        ("weights", "keras_v3"),
        ("weights", "tensorflow_saved_model_bundle"),
    }


def test_the_zipped_saved_model_is_the_one_beside_it(exported, tmp_path):
    with zipfile.ZipFile(exported / "saved_model.zip") as archive:
        archive.extractall(tmp_path)
    for path in [exported / "saved_model.pb", *(exported / "variables").iterdir()]:
        assert (tmp_path / path.relative_to(exported)).read_bytes() == path.read_bytes()
    patches = random(1, 8, 8, 8, 2)
    models = [tf.saved_model.load(folder) for folder in (exported, tmp_path)]
    one, other = (model.predict_patches(patches)["probabilities"] for model in models)
    np.testing.assert_array_equal(one, other)


# ---- foreign code


def with_lambda(path):
    inputs = keras.Input((None, None, None, 2))
    outputs = keras.layers.Lambda(lambda x: x + 1)(inputs)
    keras.Model(inputs, outputs, name="image_to_mask").save(path)


def rewritten(path, change):
    """Save a good network with another ``config.json``, as an attacker would."""
    resnet().save(path)
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    document = json.loads(content["config.json"])
    change(document, content)
    content["config.json"] = json.dumps(document).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def layer_of(module, name, config, registered_name=None):
    """Return a change that puts something else in the place of the first layer after the input."""

    def change(document, content):
        layer = document["config"]["layers"][1]
        layer |= {"module": module, "class_name": name, "config": config, "registered_name": registered_name}

    return change


def initializer_of(module, name, config):
    def change(document, content):
        settings = document["config"]["layers"][1]["config"]
        settings["kernel_initializer"] = {"module": module, "class_name": name, "config": config}

    return change


def call_of(module, name, arguments):
    """Return the change of CVE-2025-1550: a function in a layer's place, called by older Keras with its arguments."""

    def change(document, content):
        document["config"]["layers"].append(
            {
                "module": module,
                "class_name": "function",
                "config": name,
                "registered_name": name,
                "name": name,
                "inbound_nodes": [{"args": arguments, "kwargs": {}}],
            }
        )

    return change


def surplus(document, content):
    content["assets/../../escaped.txt"] = b"mine"


ATTACKS = {
    "lambda layer": with_lambda,
    "class of another module": lambda path: rewritten(path, layer_of("os", "system", {"command": "touch ran"})),
    "class with from_config": lambda path: rewritten(path, layer_of("argparse", "Namespace", {}, "system")),
    "initializer of another module": lambda path: rewritten(
        path, initializer_of("subprocess", "Popen", {"args": ["touch", "ran"]})
    ),
    "function that is called": lambda path: rewritten(path, call_of("os", "system", ["touch ran"])),
    "switch of safe mode": lambda path: rewritten(path, call_of("keras.config", "enable_unsafe_deserialization", [])),
    "download": lambda path: rewritten(path, call_of("keras.utils", "get_file", ["ran", "file:///etc/hostname"])),
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def assert_one_line(message, *said):
    assert message.count("\n") == 1, message
    assert "Traceback" not in message
    for part in (*said, "tfcyclegan3d", "; "):
        assert part in message


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_network_of_foreign_classes_is_refused_before_it_is_built(here, capsys, attack):
    write_run(here / "run", resnet())
    ATTACKS[attack](here / "run" / "image_to_mask.keras")
    before = {path.name for path in here.iterdir()}
    with pytest.raises(errors.ModelError, match=r"cannot be loaded \(it asks for"):
        load_network(here / "run" / "image_to_mask.keras")
    assert main(["export", "run", "-o", "out"]) == 2
    assert_one_line(capsys.readouterr().err, "image_to_mask.keras: cannot be loaded")
    assert {path.name for path in here.iterdir()} == before


@pytest.mark.parametrize("attack", ["lambda layer", "class of another module", "initializer of another module"])
def test_predict_refuses_a_network_of_foreign_classes(here, capsys, attack):
    write_run(here / "run", resnet())
    ATTACKS[attack](here / "run" / "image_to_mask.keras")
    tc.write_volume(here / "cells.tif", tc.Volume(random(16, 16, 16, 2, low=0, high=9)))
    before = {path.name for path in here.iterdir()}
    assert main(["predict", "run", "--images", "cells.tif", "-o", "out", "--quiet"]) == 2
    assert_one_line(capsys.readouterr().err, "image_to_mask.keras: cannot be loaded")
    assert {path.name for path in here.iterdir()} == before


def test_a_network_file_holds_nothing_but_a_network(here):
    rewritten(here / "image_to_mask.keras", surplus)
    with pytest.raises(errors.ModelError, match=r"escaped\.txt"):
        load_network(here / "image_to_mask.keras")


def test_every_network_of_this_package_may_be_loaded(here):
    for name, (build, multiple) in NETWORKS.items():
        network = build()
        network.save(here / f"{name}.keras")
        batch = random(1, multiple, multiple, multiple, 2)
        np.testing.assert_allclose(load_network(here / f"{name}.keras")(batch), network(batch), atol=1e-6)


# ---- mistakes


def content_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def without_network(run):
    (run / "image_to_mask.keras").unlink()


def damaged(run):
    path = run / "image_to_mask.keras"
    path.write_bytes(path.read_bytes()[:-900])


def empty_file(run):
    (run / "image_to_mask.keras").write_bytes(b"")


def left_open(run):
    SETTLED.replace({"preprocessing.downsampling": None}).save(run / "config.json")


def of_one_class(run):
    SETTLED.replace({"classes": ["nuclei"]}).save(run / "config.json")


def broken_settings(run):
    (run / "config.json").write_text('{"classes": [')


def without_settings(run):
    (run / "config.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without_network, "run: holds no image_to_mask.keras"),
        (damaged, "image_to_mask.keras: cannot be loaded"),
        (empty_file, "image_to_mask.keras: cannot be loaded"),
        (left_open, "leaves preprocessing.downsampling open"),
        (of_one_class, "config.json of 1 class(es)"),
        (broken_settings, "run/config.json"),
        (without_settings, "give a run folder written by 'tfcyclegan3d train' or a model written by"),
        (shutil.rmtree, "run: no such run folder"),
    ],
)
def test_a_run_that_cannot_be_exported_is_one_line_and_leaves_nothing(here, finished, capsys, spoil, said):
    shutil.copytree(finished, here / "run")
    spoil(here / "run")
    before = content_of(here)
    assert main(["export", "run", "-o", "deep/out"]) == 2
    assert_one_line(capsys.readouterr().err, said)
    assert content_of(here) == before
    assert not (here / "deep").exists()


def test_an_unknown_format_is_refused(here, finished, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["export", str(finished), "-o", "out", "--format", "onnx"])
    assert stopped.value.code == 2
    assert_one_line(capsys.readouterr().err, "'onnx'")
    with pytest.raises(errors.OptionError, match="onnx"):
        export_model(finished, here / "out", "onnx")
    assert list(here.iterdir()) == []


def test_an_existing_folder_is_replaced_only_when_asked_and_only_an_export(here, finished, capsys):
    arguments = ["export", str(finished), "-o", "out", "--format"]
    (here / "out").mkdir()  # Nothing is in there to be lost.
    assert main([*arguments, "savedmodel"]) == 0
    capsys.readouterr()
    before = content_of(here)
    assert main([*arguments, "keras"]) == 2
    assert_one_line(capsys.readouterr().err, "out: exists already")
    assert content_of(here) == before
    assert main([*arguments, "keras", "--overwrite"]) == 0
    assert {path.name for path in (here / "out").iterdir()} == BOTH
    capsys.readouterr()
    (here / "out" / "thesis.txt").write_text("mine")
    before = content_of(here)
    assert main([*arguments, "keras", "--overwrite"]) == 2
    assert_one_line(capsys.readouterr().err, "thesis.txt, which no export wrote")
    assert content_of(here) == before
    assert [path.name for path in here.iterdir()] == ["out"]


def test_a_run_is_never_replaced_by_its_export(here, finished, capsys):
    shutil.copytree(finished, here / "run")
    before = content_of(here)
    assert main(["export", "run", "-o", "run", "--overwrite"]) == 2
    assert_one_line(capsys.readouterr().err, "manifest.json, which no export wrote")
    assert content_of(here) == before
    assert "manifest.json" in CONTENTS


@pytest.mark.parametrize("output", ["notes.txt", "notes.txt/out", "/proc/nowhere/out"])
def test_a_place_that_cannot_be_written_is_one_line(here, finished, capsys, output):
    (here / "notes.txt").write_text("mine")
    assert main(["export", str(finished), "-o", output]) == 2
    assert_one_line(capsys.readouterr().err, "cannot be written")
    assert content_of(here) == {here / "notes.txt": b"mine"}


@pytest.mark.parametrize("raised", [OSError(28, "No space left on device"), "tensorflow"])
def test_a_full_disk_is_one_line_and_an_earlier_export_stays(here, finished, capsys, monkeypatch, raised):
    export_model(finished, here / "out", "keras")
    before = content_of(here)

    def full(*_, **__):
        Path(_[1], "saved_model.pb").write_bytes(b"half")
        raise (
            tf.errors.ResourceExhaustedError(None, None, "out; No space left on device")
            if raised == "tensorflow"
            else raised
        )

    monkeypatch.setattr(tf.saved_model, "save", full)
    assert main(["export", str(finished), "-o", "out", "--overwrite"]) == 2
    assert_one_line(capsys.readouterr().err, "out: cannot be written", "No space left on device")
    assert content_of(here) == before
    assert [path.name for path in here.iterdir()] == ["out"]


def test_the_command_says_where_the_model_is(here, finished, capsys):
    assert main(["export", str(finished), "-o", "model", "--format", "keras", "--author", "A", "--author", "B"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.startswith("model: keras of ")
    assert "model/README.md" in printed.out
    assert json.loads((here / "model" / "model.json").read_text())["authors"] == ["A", "B"]
    assert tc.export_model is export_model
