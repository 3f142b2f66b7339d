"""Devices and workers that share a batch train the networks that one device would; who takes part is checked first."""

import csv
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
import tensorflow as tf

from tests.joint_training import CONFIG, RATE
from tests.tiny import TINY
from tfcyclegan3d import errors, patches
from tfcyclegan3d.experiments.demo import run_demo
from tfcyclegan3d.training import distribution
from tfcyclegan3d.training.networks import build_networks

ROOT = Path(__file__).parents[1]
WAYS = ("two devices", "two workers")
TIME_LIMIT_S = 840
# Four processes that load TensorFlow each: on a busy machine they take much longer than alone.
pytestmark = pytest.mark.timeout(900)


def free_ports(n):
    """Ports nobody listens on, held together so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start(folder, n_devices, cluster=None):
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TF_CONFIG", None)
    log = folder / "log.txt"
    if cluster is not None:
        environment["TF_CONFIG"] = json.dumps(cluster)
        log = folder / f"log_{cluster['task']['index']}.txt"
    command = [sys.executable, "-m", "tests.joint_training", str(folder), str(n_devices)]
    with log.open("w") as said:
        return log, subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=subprocess.STDOUT)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folders of one training done three ways, all at once."""
    base = tmp_path_factory.mktemp("shared")
    folders = {way: base / way.replace(" ", "_") for way in ("one device", *WAYS)}
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    processes = [start(folders["one device"], 1), start(folders["two devices"], 2)]
    for index in range(2):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        processes.append(start(folders["two workers"], 1, task))
    ends = time.monotonic() + TIME_LIMIT_S
    try:
        for log, process in processes:
            status = process.wait(max(ends - time.monotonic(), 1))
            assert status == 0, log.read_text()[-3000:]
    finally:
        for _, process in processes:
            process.kill()
    return folders


def states(folder):
    """What the checkpoints after the first and after all CycleGAN steps hold."""
    found = []
    for epoch in range(1, CONFIG.training.epochs + 1):
        with np.load(folder / "run" / "checkpoints" / f"epoch_{epoch:04d}.npz") as file:
            found.append({name: file[name] for name in file.files if not name.startswith(("record", "selection/"))})
    return found


def found(folder, worker=0):
    return json.loads((folder / f"found_{worker}.json").read_text())


@pytest.mark.parametrize("way", WAYS)
def test_the_gradients_of_both_kinds_of_steps_are_those_of_the_joint_batch(trained, way):
    """By what the optimisers hold: rate times gradient, with half of what they held before."""
    n_compared = 0
    for alone, shared in zip(states(trained["one device"]), states(trained[way]), strict=True):
        assert alone.keys() == shared.keys()
        for name, wanted in alone.items():
            if "_optimizer/" in name and wanted.ndim > 0:
                size = np.abs(wanted).max()
                np.testing.assert_allclose(shared[name], wanted, rtol=0, atol=2e-5 * RATE + 1e-3 * size, err_msg=name)
                n_compared += size > 0.01 * RATE
    assert n_compared > 50


@pytest.mark.parametrize("way", WAYS)
def test_weights_averages_pools_and_counters_are_those_of_one_device_too(trained, way):
    networks = build_networks(CONFIG.model, 2, "float32", CONFIG.seed)
    begun = [variable.numpy() for variable in networks.generator_variables]
    alone, shared = (states(trained[name])[-1] for name in ("one device", way))
    rounding = 4 * np.finfo(np.float32).eps
    for name, wanted in alone.items():
        # Pools hold float16.
        atol = 1e-3 if name.startswith("pools") else 0.02 * RATE
        np.testing.assert_allclose(shared[name], wanted, atol=atol, rtol=rounding, err_msg=name)
    averages = [value for name, value in shared.items() if name.startswith("average/")][: len(begun)]
    assert max(np.abs(now - before).max() for now, before in zip(averages, begun, strict=True)) > RATE
    assert shared["steps/0000"] == 3
    assert shared["pools/0001"] == shared["pools/0003"] == 6 > CONFIG.training.pool_size


@pytest.mark.parametrize("way", WAYS)
def test_the_run_folder_is_written_once_and_whole(trained, way):
    alone, shared = trained["one device"] / "run", trained[way] / "run"
    assert {path.name for path in alone.iterdir()} == {path.name for path in shared.iterdir()}
    assert [path.name for path in (shared / "previews").iterdir()] == [
        path.name for path in (alone / "previews").iterdir()
    ]
    manifest = json.loads((shared / "manifest.json").read_text())
    assert manifest["verdict"] == found(trained[way])["verdict"] == "finished"
    assert manifest["devices"] == found(trained[way])["n_replicas"] == 2
    assert manifest["workers"] == (2 if way == "two workers" else 1)
    logged = []
    for path in (alone, shared):
        with (path / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        losses = [name for name in rows[0] if name.startswith(("adversarial", "cycle", "identity", "super", "critics"))]
        logged.append([float(row[name]) for row in rows for name in losses if row[name]])
    assert len(logged[0]) > 8
    assert logged[1] == pytest.approx(logged[0], rel=1e-3)


def test_a_gradient_that_overflows_on_one_device_keeps_both_from_the_step_and_halves_their_loss_scales(trained):
    (moved, scale), *overflows = found(trained["two devices"])["scaled"]
    np.testing.assert_allclose(moved, [0.8, 0.8], rtol=1e-6)  # One less the mean of 0.1 and 0.3.
    assert scale == [8.0, 8.0]
    for (weight, scale), wanted in zip(overflows, (4.0, 2.0), strict=True):
        assert weight == moved
        assert scale == [wanted, wanted]


def test_the_fused_adam_takes_the_steps_of_keras_adam_on_every_device(trained):
    wanted, fused = (np.array(one) for one in found(trained["two devices"])["adams"])
    np.testing.assert_allclose(fused, wanted, rtol=1e-4)
    np.testing.assert_array_equal(fused[:, 0], fused[:, 1])
    assert np.abs(fused[0, 0] - [1.0, 2.0]).min() > 0.01


def test_workers_go_by_the_chiefs_clock_and_stop_together(trained):
    for worker in range(2):
        gave = found(trained["two workers"], worker)
        assert gave["agreed"] == [[10.0, False], [20.0, True]]
        assert gave["of_chief"] == [1.0, 2.0]
        assert gave["samples"] == [3 * worker, 3 * worker + 3]


def test_workers_started_with_unlike_settings_are_refused_on_each_of_them(trained):
    for worker in range(2):
        assert found(trained["two workers"], worker)["unlike"].startswith("worker 1 was started with other settings")


def test_a_worker_that_is_gone_ends_the_other_with_an_error_that_says_so(trained):
    said = (trained["two workers"] / "lost.txt").read_text()
    # What stands between, and whether it names the other, depends on whether a message was on its way.
    assert said.startswith("worker 0 lost touch with another (")
    assert said.endswith("start all of them again, with --resume")


# ---- what is drawn, and by whom


class Indices:
    """Patches that hold nothing but their index."""

    n_arrays, patch_shape, n_channels, n_mask_channels = 1, (1, 1, 1), 1, 1

    def draw(self, index):
        return (np.full((1, 1, 1, 1), index, np.float32),)


def test_workers_parts_of_a_batch_are_the_batch():
    whole = [batch[0].numpy() for batch in patches.dataset(Indices(), 6, 2).take(3)]
    parts = []
    for worker in range(3):
        samples = distribution.Distribution(None, 3, worker).samples(6)
        parts.append([batch[0].numpy() for batch in patches.dataset(Indices(), 6, 2, samples).take(3)])
    np.testing.assert_array_equal(whole, [np.concatenate(together) for together in zip(*parts, strict=True)])


# ---- which devices


@pytest.fixture
def with_gpus(monkeypatch):
    """Let the machine seem to have so many GPUs, and give back how many of them are taken."""
    taken = []

    def have(n_gpus):
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["GPU"] * n_gpus)
        monkeypatch.setattr(distribution, "_mirrored", lambda n: taken.append(n) or tf.distribute.get_strategy())
        return taken

    monkeypatch.delenv("TF_CONFIG", raising=False)
    return have


@pytest.mark.parametrize(
    ("n_gpus", "batch", "wanted", "used"),
    [(0, 4, None, 1), (4, 8, None, 4), (4, 6, None, 3), (4, 1, None, 1), (4, 4, 2, 2)],
)
def test_as_many_gpus_share_a_batch_as_divide_it_and_a_note_tells_of_idle_ones(with_gpus, n_gpus, batch, wanted, used):
    taken = with_gpus(n_gpus)
    training = TINY.replace({"training.batch_size": batch, "training.devices": wanted}).training
    note = distribution.choose(training).note
    assert taken == ([used] if used > 1 else [])
    assert (note is not None) == (wanted is None and used < n_gpus)
    if note:
        assert f"{used} of {n_gpus} GPUs" in note


def test_a_batch_that_the_devices_asked_for_cannot_share_is_refused(with_gpus):
    with_gpus(4)
    training = TINY.replace({"training.batch_size": 3, "training.devices": 2}).training
    with pytest.raises(errors.ConfigError, match=r"training.batch_size: received 3; give a multiple of 2"):
        distribution.choose(training)


def test_more_devices_than_there_are_are_refused(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    training = TINY.replace({"training.batch_size": 64, "training.devices": 64}).training
    with pytest.raises(errors.ConfigError, match=r"training.devices: received 64; give at most"):
        distribution.choose(training)


def test_one_device_trains_without_a_strategy(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    chosen = distribution.choose(TINY.training)
    with chosen.scope():
        assert not tf.distribute.has_strategy()
    assert (chosen.n_replicas, chosen.n_workers, chosen.is_chief) == (1, 1, True)


# ---- TF_CONFIG


def cluster_of(monkeypatch, document):
    monkeypatch.setenv("TF_CONFIG", document if isinstance(document, str) else json.dumps(document))
    return distribution.cluster()


def test_the_cluster_and_the_place_in_it_are_those_of_tf_config(monkeypatch):
    workers = {"worker": ["a:1", "b:1", "c:1"]}
    assert cluster_of(monkeypatch, {"cluster": workers, "task": {"type": "worker", "index": 2}}) == (3, 2)
    with_chief = {"chief": ["d:1"], **workers}
    assert cluster_of(monkeypatch, {"cluster": with_chief, "task": {"type": "chief", "index": 0}}) == (4, 0)
    assert cluster_of(monkeypatch, {"cluster": with_chief, "task": {"type": "worker", "index": 2}}) == (4, 3)
    assert cluster_of(monkeypatch, "") == cluster_of(monkeypatch, {}) == (1, 0)


@pytest.mark.parametrize(
    "document",
    [
        "{worker: a:1}",
        "[]",
        {"cluster": {"worker": ["a:1", "b:1"]}},
        {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}},
        {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "master", "index": 0}},
        {"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}},
    ],
)
def test_a_tf_config_that_names_no_usable_cluster_is_refused_in_one_line(monkeypatch, document):
    with pytest.raises(errors.ClusterError, match=r"^TF_CONFIG: received .*; give \{\"cluster\""):
        cluster_of(monkeypatch, document)


def test_a_batch_that_the_workers_cannot_share_is_refused_before_they_meet(monkeypatch):
    document = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(document))
    with pytest.raises(errors.ConfigError, match=r"training.batch_size: received 1; give a multiple of 2"):
        distribution.choose(TINY.training)


def test_the_demo_is_not_for_a_cluster(monkeypatch, tmp_path):
    document = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(document))
    with pytest.raises(errors.ClusterError, match="TF_CONFIG names 2 workers"):
        run_demo(tmp_path / "demo", TINY)
    assert not (tmp_path / "demo").exists()
