"""Result files that each image has for itself; complete or not there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from PIL import Image

from mmmaskdino.datasets.predicted import save_drawing
from mmmaskdino.output_files import OutputFolder, partial_path

from .prediction import Prediction


class Job(NamedTuple):
    """An image, by the names of its files."""

    file_name: str
    """Of the image."""
    name: str
    """Of its result files, without suffix."""
    video: str | None = None
    """Name of the video that it is a frame of."""
    is_last: bool = False
    """Whether it is the last frame."""


class Writer(Protocol):
    """Writes one kind of results."""

    def write(self, prediction: Prediction, job: Job) -> None:
        """Write the results of one image."""

    def close(self) -> None:
        """End the writing; a video whose last frame has not come is gone."""


class PictureWriter:
    """`pictures/NAME.jpg`, and `pictures/NAME.mp4` of a video.

    Args:
        folder: Where to write.
        kind: Results to draw; None for the first that is there.
        max_side: Longest side of a picture in pixels.
        fps: Frames per second of each video.
    """

    def __init__(self, folder: OutputFolder, kind: str | None, max_side: int, fps: Mapping[str, float]) -> None:
        self._folder, self._kind, self._max_side, self._fps = folder, kind, max_side, fps
        self._video: cv2.VideoWriter | None = None
        self._path = Path()

    def write(self, prediction: Prediction, job: Job) -> None:
        """Write the picture of one image, or the next frame of a video."""
        picture = prediction.draw(self._kind, self._max_side)
        if job.video is None:
            with self._folder.replacing('pictures', f'{job.name}.jpg') as path:
                save_drawing(Image.fromarray(picture), path)
            return
        video = self._video or self._open(job.video, picture.shape)
        video.write(np.ascontiguousarray(picture[..., ::-1]))

    def end_video(self, name: str) -> None:
        """Complete a video; nothing if no frame of it could be drawn."""
        if self._video is not None:
            self._video.release()
            self._video = None
            try:
                os.replace(self._path, self._folder.file('pictures', f'{name}.mp4'))
            finally:
                self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove a video that is not complete."""
        if self._video is not None:
            self._video.release()
            self._video = None
            self._path.unlink(missing_ok=True)

    def _open(self, name: str, shape: tuple[int, ...]) -> cv2.VideoWriter:
        path = self._folder.file('pictures', f'{name}.mp4')
        self._path, size = partial_path(path), (shape[1], shape[0])
        self._video = video = cv2.VideoWriter(str(self._path), cv2.VideoWriter.fourcc(*'mp4v'), self._fps[name], size)
        if not video.isOpened():
            raise ValueError(f'{path}: OpenCV cannot write an mp4 video of {size[0]} x {size[1]} pixels')
        return video


class PanopticWriter:
    """`panoptic/NAME.png` in COCO's panoptic format: segments by their number.

    Args:
        folder: Where to write.
    """

    def __init__(self, folder: OutputFolder) -> None:
        self._folder = folder

    def write(self, prediction: Prediction, job: Job) -> None:
        """Write the segments of one image."""
        with self._folder.replacing('panoptic', f'{job.name}.png') as path:
            prediction.save_segments(path)

    def close(self) -> None:
        """Nothing is open."""


class SemanticWriter:
    """`semantic/NAME.png` with class indices, 16 bits beyond 255 classes.

    Args:
        folder: Where to write.
        num_classes: How many there are.
    """

    def __init__(self, folder: OutputFolder, num_classes: int) -> None:
        self._folder = folder
        self._type = np.uint8 if num_classes <= 255 else np.uint16

    def write(self, prediction: Prediction, job: Job) -> None:
        """Write the label map of one image."""
        with self._folder.replacing('semantic', f'{job.name}.png') as path:
            prediction.save_labels(path, self._type)

    def close(self) -> None:
        """Nothing is open."""
