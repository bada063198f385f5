"""Predictor: results for images, one after another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from mmengine.structures import BaseDataElement
from torch import Tensor

from mmmaskdino.apis.launch import open_model
from mmmaskdino.apis.tta import tta_pipeline
from mmmaskdino.datasets.files import DataError
from mmmaskdino.datasets.image_loading import LoadCheckedImage
from mmmaskdino.datasets.image_reading import RemarkCounts
from mmmaskdino.datasets.pipelines import dataset_with_pipeline, step_name

from .drawing import draw_result
from .model import KINDS, SWITCHES, apply_settings, build_model, default_device
from .reading import MEGA, Limits, check_size, read_image, reduce_image

Source = str | Path | np.ndarray


class Prediction(NamedTuple):
    """Results for one image."""

    name: str
    """Of the image: the path, or what was given beside the array."""
    image: np.ndarray
    """(h, w, 3) uint8, BGR: the image, or the reduced one if it was above `Limits.reduce_above`."""
    sample: BaseDataElement
    """With `pred_instances`, `pred_panoptic_seg`, `pred_sem_seg`, in pixels of `image`; on the CPU."""
    size: tuple[int, int]
    """(height, width) of the original image."""


class Failure(NamedTuple):
    """An image without results."""

    name: str
    reason: str


class _Item(NamedTuple):
    """An image on its way."""

    name: str
    image: np.ndarray
    size: tuple[int, int]
    data: dict
    """What the test pipeline made of it."""


class Predictor:
    """A trained model that predicts for images of any origin.

    >>> predictor = Predictor('maskdino_r50_coco_panoptic', score_thr=0.5)
    >>> prediction = predictor('photo.jpg')
    >>> print(prediction.sample.pred_instances.scores)

    The results are those of mmdet's `DetInferencer` and mmseg's `MMSegInferencer` for the same thresholds.

    Args:
        config: Name of a model (`mmmaskdino models`), work directory, published folder or checkpoint that holds its
            config; with weights: config file, name of a config, or a config.
        weights: Checkpoint file, URL, name of a model or work directory; None for those of the model.
        device: 'cpu' or 'cuda:0', for example; None for the first GPU, or else the CPU.
        kinds: Results wanted, some of 'panoptic', 'instances', 'semantic'; None for what the config says.
        score_thr: Lowest score of an instance, in [0, 1]; None for 0.3.
        max_per_image: Most instances of an image; None for what the config says.
        object_mask_thr: Panoptic: lowest class score of a segment, in [0, 1]; None for what the config says.
        overlap_thr: Panoptic: least visible share of a segment, in [0, 1]; None for what the config says.
        box_margin: Masks of things end where their box, grown by this share of its size on each side, ends; at least 0,
            None for what the config says.
        limits: What bounds the memory.
        cfg_options: Dotted config keys and their new values.
        tta: Whether to merge several views of each image, as `mmmaskdino test --tta` does.

    Raises:
        ValueError: The config, an option or the weights are wrong.
    """

    def __init__(
        self,
        config: str | Path | Config,
        weights: str | Path | None = None,
        device: str | None = None,
        kinds: Sequence[str] | None = None,
        score_thr: float | None = None,
        max_per_image: int | None = None,
        object_mask_thr: float | None = None,
        overlap_thr: float | None = None,
        box_margin: float | None = None,
        limits: Limits | None = None,
        cfg_options: dict[str, Any] | None = None,
        tta: bool = False,
    ) -> None:
        cfg, weights = open_model(config, weights, cfg_options)
        thresholds = dict(
            score_thr=score_thr,
            max_per_image=max_per_image,
            object_mask_thr=object_mask_thr,
            overlap_thr=overlap_thr,
            box_margin=box_margin,
        )
        apply_settings(cfg, kinds, thresholds)
        self.limits = limits or Limits()
        self.limits.check()
        steps = _without_annotations(list(dataset_with_pipeline(cfg.test_dataloader.dataset).pipeline))
        self.model = build_model(cfg, weights, device or default_device(), tta)
        self.dataset_meta = self.model.dataset_meta
        self._windows = (cfg.model.get('test_cfg') or {}).get('mode') == 'slide'
        self._scope = cfg.default_scope
        with DefaultScope.overwrite_default_scope(self._scope):
            steps = _with_views(cfg, steps) if tta else steps
            self._loader, self._pipeline = _build_pipeline(steps, self.limits)
        self.remarks = self._loader.remarks = RemarkCounts()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The results that the model gives, some of 'panoptic', 'instances', 'semantic'."""
        if self._scope == 'mmseg':
            return ('semantic',)
        settings = self.model.panoptic_fusion_head.settings
        return tuple(kind for kind in KINDS if getattr(settings, SWITCHES[kind]))

    def __call__(self, image: Source) -> Prediction:
        """Predict for one image.

        Args:
            image: Path, or (h, w, 3) uint8, BGR, as OpenCV reads it.

        Raises:
            DataError: The image cannot be read or is too large.
        """
        return self._predict([self._prepare(image, _name(image))])[0]

    def predict(
        self, images: Iterable[Source | tuple[str, Source]], batch_size: int = 1
    ) -> Iterator[Prediction | Failure]:
        """Predict for many images, of which only a batch is held at a time.

        Args:
            images: Paths or arrays, or pairs of a name and such.
            batch_size: Images per forward pass. Semantic models take images of one size together only.

        Yields:
            Prediction | Failure: Per image, in the given order.

        Raises:
            ValueError: If `batch_size` is below 1.
        """
        if batch_size < 1:
            raise ValueError(f'batch_size must be at least 1, got {batch_size}')
        batch: list[_Item] = []
        for image in images:
            name, image = image if isinstance(image, tuple) else (_name(image), image)
            try:
                item = self._prepare(image, name)
            except Exception as error:  # whatever is wrong with one image, the others are wanted
                yield from self._predict_each(batch)
                batch = []
                yield Failure(name, _reason(error))
                continue
            if batch and not self._fits(item, batch):
                yield from self._predict_each(batch)
                batch = []
            batch.append(item)
            if len(batch) == batch_size:
                yield from self._predict_each(batch)
                batch = []
        yield from self._predict_each(batch)

    def draw(self, prediction: Prediction, kind: str | None = None, max_side: int = 2048) -> np.ndarray:
        """Draw the results on the image.

        Args:
            prediction: What this predictor returned.
            kind: 'panoptic', 'instances' or 'semantic'; None for the first of these that is there.
            max_side: Longest side of the picture in pixels; a larger image is reduced.

        Returns:
            (h, w, 3) uint8, RGB.

        Raises:
            ValueError: There is no such result.
        """
        return draw_result(prediction.image[..., ::-1], prediction.sample, self.dataset_meta, kind, max_side)

    def _prepare(self, image: Source, name: str) -> _Item:
        """Read the image and run the test pipeline on it."""
        if isinstance(image, np.ndarray):
            image = _checked_array(image, name)
            check_size(name, image.shape[1], image.shape[0], self.limits)
        else:
            image = read_image(image, self._loader, self.limits)
        reduced = reduce_image(image, self.limits.reduce_above * MEGA)
        size = tuple(reduced.shape[:2])
        data = self._pipeline(dict(img=reduced, img_path=name, img_id=0, img_shape=size, ori_shape=size))
        for tensor in _input_tensors(data):
            self._check_input(name, tensor)
        return _Item(name, reduced, tuple(image.shape[:2]), data)

    def _check_input(self, name: str, tensor: Tensor) -> None:
        height, width = tensor.shape[-2:]
        if height * width > self.limits.max_input_megapixels * MEGA and not self._windows:
            raise DataError(
                f'{name}: the test pipeline hands {width} x {height} pixels to the network, more than the limit of '
                f'{self.limits.max_input_megapixels:g} megapixels. Let the pipeline resize (for example '
                "dict(type='AntialiasedResize', scale=(1333, 800), keep_ratio=True) in "
                'test_dataloader.dataset.pipeline), or raise the limit (--max-input-megapixels, '
                'Limits.max_input_megapixels)'
            )

    def _fits(self, item: _Item, batch: list[_Item]) -> bool:
        """Whether the image may go into the batch: mmseg wants one size."""
        if self._scope != 'mmseg':
            return True
        return _input_tensors(item.data)[0].shape == _input_tensors(batch[0].data)[0].shape

    def _predict_each(self, batch: list[_Item]) -> Iterator[Prediction | Failure]:
        """Results of a batch; if that fails, of each image alone, so that only the guilty one has none."""
        if not batch:
            return
        try:
            predictions = self._predict(batch)
        except Exception as error:
            if len(batch) == 1:
                yield Failure(batch[0].name, _reason(error))
                return
            for item in batch:
                yield from self._predict_each([item])
        else:
            yield from predictions

    @torch.no_grad()
    def _predict(self, batch: list[_Item]) -> list[Prediction]:
        with DefaultScope.overwrite_default_scope(self._scope):
            samples = self.model.test_step(pseudo_collate([item.data for item in batch]))
        return [
            Prediction(item.name, item.image, sample.cpu(), item.size)
            for item, sample in zip(batch, samples, strict=True)
        ]


def _without_annotations(transforms: list[dict]) -> list[dict]:
    kept = [step for step in transforms[1:] if not step_name(step).startswith('Load')]
    return [transforms[0], *kept]


def _with_views(cfg: Config, transforms: list[dict]) -> list[dict]:
    if 'tta_pipeline' not in cfg:
        return tta_pipeline(transforms)
    *first, last = cfg.tta_pipeline
    slots = [[step for step in slot if not step_name(step).startswith('Load')] for slot in last['transforms']]
    return [*first, dict(last, transforms=[slot for slot in slots if slot])]


def _build_pipeline(transforms: list[dict], limits: Limits) -> tuple[LoadCheckedImage, Compose]:
    """What reads an image, and what follows."""
    options = dict(transforms[0])
    if not options.pop('type').endswith('LoadImageFromFile'):
        raise ValueError(f'the test pipeline must begin with LoadImageFromFile, got {transforms[0]}')
    options['max_pixels'] = int(limits.max_megapixels * MEGA)
    return LoadCheckedImage(**options), Compose(transforms[1:])


def _input_tensors(data: dict) -> list[Tensor]:
    """The network's inputs: one, or several with test-time augmentation."""
    return data['inputs'] if isinstance(data['inputs'], list) else [data['inputs']]


def _checked_array(image: np.ndarray, name: str) -> np.ndarray:
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise DataError(
            f'{name}: an array must be (height, width, 3) of uint8 in the order blue, green, red, got the shape '
            f'{image.shape} of {image.dtype}'
        )
    return image


def _name(image: Source) -> str:
    return 'image' if isinstance(image, np.ndarray) else str(image)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, DataError) else f'{type(error).__name__}: {error}'.partition('\n')[0]
