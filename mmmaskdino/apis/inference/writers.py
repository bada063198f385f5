"""Result files, written image by image."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from mmmaskdino.datasets.panoptic_ids import ids_to_rgb
from mmmaskdino.datasets.predicted import IMAGES_IN, save_drawing
from mmmaskdino.evaluation.output_files import OutputFolder
from mmmaskdino.evaluation.panoptic_metric import predicted_image
from mmmaskdino.evaluation.panoptic_quality import VOID

from .predictor import Prediction, Predictor


class Writer(Protocol):
    """Writes one kind of results."""

    def write(self, prediction: Prediction, file_name: str, name: str) -> None:
        """Write the results of one image, whose file is called `file_name`, under `name`."""

    def close(self) -> None:
        """Complete the files; what was written so far is there, also after an interruption."""


class PictureWriter:
    """`pictures/NAME.jpg`.

    Args:
        folder: Where to write.
        predictor: Draws.
        kind: Results to draw.
        max_side: Longest side of a picture in pixels.
    """

    def __init__(self, folder: OutputFolder, predictor: Predictor, kind: str | None, max_side: int) -> None:
        self._folder, self._predictor, self._kind, self._max_side = folder, predictor, kind, max_side

    def write(self, prediction: Prediction, file_name: str, name: str) -> None:
        """Write the picture of one image."""
        path = self._folder.file('pictures', f'{name}.jpg')
        picture = self._predictor.draw(prediction, self._kind, self._max_side)
        save_drawing(Image.fromarray(picture), path)

    def close(self) -> None:
        """Nothing is open."""


class VideoWriter:
    """`pictures/NAME.mp4`, whose frames are the pictures.

    Args:
        folder: Where to write.
        predictor: Draws.
        kind: Results to draw.
        max_side: Longest side of a frame in pixels.
        stem: NAME.
        fps: Frames per second.
    """

    def __init__(
        self, folder: OutputFolder, predictor: Predictor, kind: str | None, max_side: int, stem: str, fps: float
    ) -> None:
        self._predictor, self._kind, self._max_side, self._fps = predictor, kind, max_side, fps
        self._path = folder.file('pictures', f'{stem}.mp4')
        self._video: cv2.VideoWriter | None = None

    def write(self, prediction: Prediction, file_name: str, name: str) -> None:
        """Add one frame."""
        frame = self._predictor.draw(prediction, self._kind, self._max_side)[..., ::-1]
        if self._video is None:
            size = (frame.shape[1], frame.shape[0])
            self._video = cv2.VideoWriter(str(self._path), cv2.VideoWriter.fourcc(*'mp4v'), self._fps, size)
            if not self._video.isOpened():
                raise ValueError(f'{self._path}: OpenCV cannot write an mp4 video of {size[0]} x {size[1]} pixels')
        self._video.write(np.ascontiguousarray(frame))

    def close(self) -> None:
        """Complete the video."""
        if self._video is not None:
            self._video.release()


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

    def write(self, prediction: Prediction, file_name: str, name: str) -> None:
        """Write the instances of one image."""
        self._num_images += 1
        image_id, (height, width) = self._num_images, prediction.size
        self._json.add('images', dict(id=image_id, file_name=file_name, height=height, width=width))
        instances = prediction.sample.pred_instances
        scale = np.array([width, height] * 2) / np.array([*prediction.image.shape[1::-1]] * 2)
        for index in range(len(instances)):
            self._num_instances += 1
            x1, y1, x2, y2 = (instances.bboxes[index].double().numpy() * scale).tolist()
            entry = dict(
                id=self._num_instances,
                image_id=image_id,
                category_id=int(instances.labels[index]) + 1,
                bbox=[x1, y1, x2 - x1, y2 - y1],
                area=(x2 - x1) * (y2 - y1),
                iscrowd=0,
                score=float(instances.scores[index]),
            )
            if 'masks' in instances:
                mask = enlarge(instances.masks[index].numpy().astype(np.uint8), prediction.size)
                rle = coco_mask.encode(np.asfortranarray(mask))
                entry['area'] = int(coco_mask.area(rle))
                entry['segmentation'] = dict(size=rle['size'], counts=rle['counts'].decode('ascii'))
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

    def write(self, prediction: Prediction, file_name: str, name: str) -> None:
        """Write the segments of one image."""
        self._num_images += 1
        image_id, (height, width) = self._num_images, prediction.size
        sample = dict(img_id=file_name, pred_panoptic_seg=dict(sem_seg=prediction.sample.pred_panoptic_seg.sem_seg))
        image = predicted_image(sample, len(self._categories))
        # Segments are numbered from 1: a predicted id need not fit three bytes.
        numbers = np.where(image.id_map == VOID, 0, np.searchsorted(image.ids, image.id_map) + 1)
        ids = enlarge(numbers.astype(np.int32), prediction.size)
        Image.fromarray(ids_to_rgb(ids)).save(self._folder.file('panoptic', f'{name}.png'))
        self._json.add('images', dict(id=image_id, file_name=file_name, height=height, width=width))
        segments = [
            dict(id=number, category_id=int(label) + 1, iscrowd=0, **_extent(ids == number))
            for number, label in enumerate(image.labels, start=1)
        ]
        self._json.add('annotations', dict(image_id=image_id, file_name=f'{name}.png', segments_info=segments))

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

    def write(self, prediction: Prediction, file_name: str, name: str) -> None:
        """Write the label map of one image."""
        result = prediction.sample.pred_sem_seg
        labels = (result.sem_seg if 'sem_seg' in result else result.data)[0].numpy().astype(self._type)
        Image.fromarray(enlarge(labels, prediction.size)).save(self._folder.file('semantic', f'{name}.png'))

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


def enlarge(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Labels (h, w) at another size (height, width); the same array where it has that already."""
    if labels.shape == tuple(size):
        return labels
    return cv2.resize(labels, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)


def _extent(mask: np.ndarray) -> dict[str, Any]:
    """Area and box (x, y, width, height) of a mask (h, w) that is not empty."""
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return dict(area=int(coco_mask.area(rle)), bbox=coco_mask.toBbox(rle).tolist())
