"""Import TensorFlow without what it says on standard error before anybody can silence it."""

from __future__ import annotations

import os
import sys
import tempfile


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
