"""What TensorBoard shows of a run: curves by group, and each epoch's preview."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.image.metadata import create_summary_metadata

from tfcyclegan3d import errors

PREVIEW_TAG = "preview"


class TensorBoardLog:
    """Event files in a folder, which is made with the first entry.

    Parameters
    ----------
    folder : Path
        ``RUN/logs``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: tf.summary.SummaryWriter | None = None

    def write_scalars(self, epoch: int, values: Mapping[str, float]) -> None:
        """Append values by tag; what stands before the slash of a tag groups the curves.

        Raises
        ------
        OutputError
        """
        self._write(epoch, lambda: [tf.summary.scalar(tag, value) for tag, value in values.items()])

    def write_preview(self, epoch: int, png: bytes) -> None:
        """Append a picture that is a PNG already.

        Raises
        ------
        OutputError
        """
        # What tf.summary.image writes, without encoding the picture once more; a PNG's size stands at its head.
        width, height = struct.unpack(">II", png[16:24])
        picture = tf.constant([str(width).encode(), str(height).encode(), png])
        metadata = create_summary_metadata(display_name=None, description=None)
        self._write(epoch, lambda: tf.summary.write(PREVIEW_TAG, picture, metadata=metadata))

    def forget_epochs_after(self, epoch: int) -> None:
        """Drop the entries of later epochs, which are going to be repeated; the next entry begins a new file.

        The files themselves are written anew, since readers of TensorBoard's files differ in what they make of a step
        that comes twice.

        Raises
        ------
        OutputError
        """
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        for path in sorted(self._folder.glob("events.*")):
            kept = [record for record in _records(path) if Event.FromString(record).step <= epoch]
            unfinished = path.with_name(f".unfinished-{path.name}")
            try:
                with errors.writing(path):
                    with tf.io.TFRecordWriter(str(unfinished)) as file:
                        for record in kept:
                            file.write(record)
                    unfinished.replace(path)
            except tf.errors.OpError as error:
                raise errors.OutputError(path, error.message) from error
            finally:
                unfinished.unlink(missing_ok=True)

    def _write(self, epoch: int, entries: Callable[[], object]) -> None:
        try:
            if self._writer is None:
                self._writer = tf.summary.create_file_writer(str(self._folder))
            with self._writer.as_default(step=epoch):
                entries()
            self._writer.flush()
        except tf.errors.OpError as error:
            raise errors.OutputError(self._folder, error.message) from error


def _records(path: Path) -> list[bytes]:
    """Return the records of an event file, up to the first one that a killed program left unfinished."""
    records = []
    try:
        for record in tf.data.TFRecordDataset(str(path)):
            records.append(record.numpy())
    except tf.errors.DataLossError:
        pass
    return records
