"""Steps run without compiling them: seconds less for a test of one or two."""

from contextlib import contextmanager

import tensorflow as tf


@contextmanager
def run_eagerly():
    """Run what is a graph elsewhere operation by operation."""
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)
