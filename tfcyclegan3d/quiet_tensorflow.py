"""Keep TensorFlow from saying what does not concern the user."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


def import_quietly() -> None:
    """Import TensorFlow and look for devices, keeping native messages to itself unless that fails.

    TensorFlow's C++ side writes to file descriptor 2 until its logging is set up, whatever ``TF_CPP_MIN_LOG_LEVEL``
    says, and reports every missing CUDA library on machines that have no GPU.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()
        except BaseException:
            said.seek(0)
            os.write(kept, said.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


@contextmanager
def many_networks() -> Iterator[None]:
    """Keep TensorFlow from warning that a function is traced too often, while one network after another is made.

    It takes the functions of all networks that one line makes for one function.
    """

    def concerns(record: logging.LogRecord) -> bool:
        return "triggered tf.function retracing" not in record.getMessage()

    said_by = logging.getLogger("tensorflow")
    said_by.addFilter(concerns)
    try:
        yield
    finally:
        said_by.removeFilter(concerns)
