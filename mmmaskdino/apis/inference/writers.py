"""Result files, written image by image."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from PIL import Image

from mmmaskdino.datasets.predicted import IMAGES_IN, save_drawing
from mmmaskdino.output_files import OutputFolder

from .prediction import Prediction


class Job(NamedTuple):
    """An image, by the names of its files."""

    file_name: str
    """Of the image."""
    name: str
    """Of its result files, without suffix."""
    video: str | None = None
    """Name of the video that it is a frame of."""


class Writer(Protocol):
    """Writes one kind of results."""

    def write(self, prediction: Prediction, job: Job) -> None:
        """Write the results of one image."""

    def close(self) -> None:
        """Complete the files; what was written so far is there, also after an interruption."""


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
        self._name: str | None = None

    def write(self, prediction: Prediction, job: Job) -> None:
        """Write the picture of one image, or the next frame of a video."""
        picture = prediction.draw(self._kind, self._max_side)
        if job.video is None:
            save_drawing(Image.fromarray(picture), self._folder.file('pictures', f'{job.name}.jpg'))
            return
        if job.video != self._name:
            self.close()
            self._video, self._name = self._open(job.video, picture.shape), job.video
        self._video.write(np.ascontiguousarray(picture[..., ::-1]))

    def close(self) -> None:
        """Complete the video."""
        if self._video is not None:
            self._video.release()
            self._video = None

    def _open(self, name: str, shape: tuple[int, ...]) -> cv2.VideoWriter:
        path, size = self._folder.file('pictures', f'{name}.mp4'), (shape[1], shape[0])
        video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), self._fps[name], size)
        if not video.isOpened():
            raise ValueError(f'{path}: OpenCV cannot write an mp4 video of {size[0]} x {size[1]} pixels')
        return video


class InstanceWriter:
    """`instances.json`: a COCO dataset whose annotations have scores; category ids count the classes from 1.

    Args:
        folder: Where to write.
        classes: Class names.
        images: Folder of the images, which the file names then; None where they are in none.
    """

    def __init__(self, folder: OutputFolder, classes: list[str], images: Path | None = None) -> None:
        self._info = _info(folder, images)
        self._json = JsonLists(folder, 'instances.json', ('images', 'annotations'))
        self._categories = [dict(id=label + 1, name=name) for label, name in enumerate(classes)]
        self._num_images = self._num_instances = 0

    def write(self, prediction: Prediction, job: Job) -> None:
        """Write the instances of one image."""
        self._num_images += 1
        image_id, (height, width) = self._num_images, prediction.size
        self._json.add('images', dict(id=image_id, file_name=job.file_name, height=height, width=width))
        for found in prediction.objects():
            self._num_instances += 1
            x1, y1, x2, y2 = found['box']
            entry = dict(
                id=self._num_instances,
                image_id=image_id,
                category_id=found['label'] + 1,
                bbox=[x1, y1, x2 - x1, y2 - y1],
                area=found['area'],
                iscrowd=0,
                score=found['score'],
            )
            if 'segmentation' in found:
                entry['segmentation'] = found['segmentation']
            self._json.add('annotations', entry)

    def close(self) -> None:
        """Put the file together."""
        self._json.close(dict(info=self._info, categories=self._categories))


class PanopticWriter:
    """`panoptic.json` and `panoptic/NAME.png`: a COCO panoptic dataset; category ids count the classes from 1.

    Args:
        folder: Where to write.
        classes: Class names, things first.
        num_things: How many are things.
        images: As of :class:`InstanceWriter`.
    """

    def __init__(self, folder: OutputFolder, classes: list[str], num_things: int, images: Path | None = None) -> None:
        self._folder, self._info = folder, _info(folder, images)
        self._json = JsonLists(folder, 'panoptic.json', ('images', 'annotations'))
        self._categories = [
            dict(id=label + 1, name=name, isthing=int(label < num_things)) for label, name in enumerate(classes)
        ]
        self._num_images = 0

    def write(self, prediction: Prediction, job: Job) -> None:
        """Write the segments of one image."""
        self._num_images += 1
        image_id, (height, width) = self._num_images, prediction.size
        found = prediction.save_segments(self._folder.file('panoptic', f'{job.name}.png'))
        self._json.add('images', dict(id=image_id, file_name=job.file_name, height=height, width=width))
        segments = [
            dict(id=number, category_id=one['label'] + 1, iscrowd=0, area=one['area'], bbox=one['bbox'])
            for number, one in enumerate(found, start=1)
        ]
        self._json.add('annotations', dict(image_id=image_id, file_name=f'{job.name}.png', segments_info=segments))

    def close(self) -> None:
        """Put the file together."""
        self._json.close(dict(info=self._info, categories=self._categories))


class SemanticWriter:
    """`semantic/NAME.png` with class indices (16 bits beyond 255 classes), and their names in `semantic_classes.txt`.

    Args:
        folder: Where to write.
        classes: Class names.
    """

    def __init__(self, folder: OutputFolder, classes: list[str]) -> None:
        self._folder = folder
        self._type = np.uint8 if len(classes) <= 255 else np.uint16
        folder.file('semantic_classes.txt').write_text('\n'.join(classes) + '\n', encoding='utf-8')

    def write(self, prediction: Prediction, job: Job) -> None:
        """Write the label map of one image."""
        prediction.save_labels(self._folder.file('semantic', f'{job.name}.png'), self._type)

    def close(self) -> None:
        """Nothing is open."""


class JsonLists:
    """A json object whose lists grow on the disk, not in memory.

    Args:
        folder: Where to write.
        name: Name of the file.
        keys: Names of the lists.
    """

    def __init__(self, folder: OutputFolder, name: str, keys: tuple[str, ...]) -> None:
        self._path = folder.file(name)
        self._parts = {key: folder.file(f'{name}.{key}.part') for key in keys}
        self._files = {key: path.open('w+', encoding='utf-8') for key, path in self._parts.items()}

    def add(self, key: str, entry: dict[str, Any]) -> None:
        """Append to a list."""
        file = self._files[key]
        file.write((',\n' if file.tell() else '') + json.dumps(entry))

    def close(self, others: dict[str, Any]) -> None:
        """Write the object, with further keys."""
        with self._path.open('w', encoding='utf-8') as target:
            target.write('{')
            for key, file in self._files.items():
                target.write(f'{json.dumps(key)}: [\n')
                file.seek(0)
                while text := file.read(1 << 20):
                    target.write(text)
                target.write('\n],\n')
                file.close()
                self._parts[key].unlink()
            target.write(json.dumps(others)[1:])


def _info(folder: OutputFolder, images: Path | None) -> dict[str, Any]:
    """Where the images of a result file are."""
    return {} if images is None else {IMAGES_IN: os.path.relpath(images.resolve(), folder.path.resolve())}
