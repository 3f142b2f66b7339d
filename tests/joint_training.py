"""A training that devices or workers share, started apart: TensorFlow takes to both only when it begins.

``python -m tests.joint_training FOLDER N_DEVICES``, as a worker where TF_CONFIG says so. Leaves ``FOLDER/run``, which
the chief alone writes, and ``FOLDER/found_WORKER.json`` with what a few calls gave.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import tfcyclegan3d as tc
from tests.tiny import TINY
from tfcyclegan3d import errors
from tfcyclegan3d.training import cyclegan, replicas, start
from tfcyclegan3d.training import distribution as distributions
from tfcyclegan3d.training.fused_adam import FusedAdam

# So small that the differences of rounding, which networks this small amplify, stay what they are from step to step.
RATE = 1e-5
# A checkpoint after two steps, the first of which is the start's, and another after four.
CONFIG = TINY.replace(
    {
        "seed": 3,
        "training.batch_size": 2,
        "training.epochs": 2,
        "training.steps_per_epoch": 2,
        "training.start_fraction": 0.25,
        "training.decay_from": 1.0,
        "training.patch_shape": [8, 8, 8],
        "training.pool_size": 3,
        "training.average_momentum": 0.9,
        **{f"training.{which}_learning_rate": RATE for which in ("start", "generator", "critic")},
        "model.filters": 2,
        "model.critic_filters": 2,
        "model.critic_levels": 1,
        "inference.tile_shape": [8, 8, 8],
        "inference.overlap": 2,
        "losses.identity": 2.0,
        "losses.supervised": 1.0,
        "losses.supervised_end": 1.0,
        "losses.cycle_noise": 0.1,
        "losses.critic_noise": 0.2,
    }
)


def descent(rate=RATE, *_, **__):
    """In Adam's place: it holds and takes sums of gradients, where Adam's steps are little more than their signs."""
    return keras.optimizers.SGD(rate, momentum=0.5)


def stack(seed):
    """Values (ZYXC) that differ from voxel to voxel and sample to sample."""
    rng = np.random.default_rng(seed)
    return rng.random((12, 20, 20, 2)) ** np.linspace(0.5, 2, 20)[:, np.newaxis]


def stepping(distribution, optimizer, weight):
    """A function that moves a weight along the mean of gradients, one a replica."""

    @tf.function
    def run(gradients):
        def on_replica():
            own = gradients[tf.distribute.get_replica_context().replica_id_in_sync_group]
            replicas.apply_mean_gradients(optimizer, [own], [weight])

        distribution._strategy.run(on_replica)

    return run


def scaled_step(distribution):
    """One weight, its loss scale and a step counter on every replica, after gradients of which one overflowed."""
    with distribution.scope():
        weight = keras.Variable(1.0)
        optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(1.0), initial_scale=8.0)
        optimizer.build([weight])

    run = stepping(distribution, optimizer, weight)
    found = []
    for gradients in ([0.1, 0.3], [0.1, float("inf")], [float("nan"), 0.1]):
        run(8.0 * tf.constant(gradients))
        local = distribution._strategy.experimental_local_results
        found.append([[float(one) for one in local(part.value)] for part in (weight, optimizer.dynamic_scale)])
    return found


def adam_steps(distribution, kind):
    """A weight and its moments on every replica, after steps of an Adam along the means of gradients of their own."""
    with distribution.scope():
        weight = keras.Variable([1.0, 2.0])
        optimizer = kind(0.1)
        optimizer.build([weight])

    run = stepping(distribution, optimizer, weight)
    for gradients in ([[0.1, 3.0], [0.3, -1.0]], [[0.2, 0.0], [-0.6, 1.0]]):
        run(tf.constant(gradients))
    local = distribution._strategy.experimental_local_results
    kept = (weight, optimizer._momentums[0], optimizer._velocities[0])
    return [[one.numpy().tolist() for one in local(variable.value)] for variable in kept]


def what_workers_agree_on(distribution):
    """What each worker gets from calls in which it differs from the other."""
    worker = distribution.worker
    found = {
        "agreed": [distribution.agreed(10.0 + worker, False), distribution.agreed(20.0 + worker, worker == 1)],
        "of_chief": distribution.of_chief(np.array([worker + 1.0, worker + 2.0])).tolist(),
        "samples": [distribution.samples(6).start, distribution.samples(6).stop],
    }
    distribution.check_alike({"stacks": "the same", "settings": 1})
    try:
        distribution.check_alike({"stacks": "the same", "settings": worker})
    except errors.ClusterError as error:
        found["unlike"] = str(error)
    return found


def main(folder, n_devices):
    in_cluster = bool(os.environ.get("TF_CONFIG"))
    if n_devices > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * n_devices)
    config = CONFIG.replace({} if in_cluster else {"training.devices": n_devices})
    distribution = distributions.choose(config.training)
    cyclegan.FusedAdam = start.FusedAdam = descent
    run = tc.train([stack(0)], [stack(1) > 0.8], config, folder / "run", progress=False)
    found = {"verdict": run.verdict, "n_replicas": distribution.n_replicas}
    if in_cluster:
        found |= what_workers_agree_on(distribution)
    elif n_devices > 1:
        found["scaled"] = scaled_step(distribution)
        found["adams"] = [adam_steps(distribution, kind) for kind in (keras.optimizers.Adam, FusedAdam)]
    (folder / f"found_{distribution.worker}.json").write_text(json.dumps(found))
    if in_cluster and distribution.worker == 1:
        os._exit(0)  # Without a word, while the other waits for it.
    if in_cluster:
        try:
            distribution.agreed(0.0, False)
        except errors.ClusterError as error:
            (folder / "lost.txt").write_text(str(error))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
