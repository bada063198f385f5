"""Predictor: results for images, one after another."""

from __future__ import annotations

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from PIL import Image
from torch import Tensor, nn

from mmmaskdino.apis.launch import open_model
from mmmaskdino.apis.tta import tta_model, tta_pipeline
from mmmaskdino.datasets.files import DataError
from mmmaskdino.datasets.image_loading import LoadCheckedImage
from mmmaskdino.datasets.image_reading import Remark, RemarkCounts
from mmmaskdino.datasets.pipelines import prediction_dataset, step_name
from mmmaskdino.devices import choose_device
from mmmaskdino.engine.compiling import default_parts
from mmmaskdino.hub.huggingface import fetch_published
from mmmaskdino.tile_grid import DEFAULT_OVERLAP, check_tiles

from .model import DEFAULT_SCORE_THR, KINDS, SWITCHES, apply_settings, build_model
from .prediction import Failure, Prediction
from .reading import EXPECTED, MEGA, Limits, name_of, read_source, reduce_image
from .scenes import predict_scene
from .sources import Video, find_images, is_many
from .stores import StoredImage

T = TypeVar('T')
MAX_PADDING = 1.25  # pixels of a padded batch, by those of its images
Source = str | Path | StoredImage | bytes | Image.Image | np.ndarray | Tensor


class _Item(NamedTuple):
    """An image on its way."""

    name: str
    image: np.ndarray
    size: tuple[int, int]
    data: dict
    """What the test pipeline made of it."""
    seconds: float
    """That all this took."""


class Predictor:
    """A trained model that predicts for images of any origin.

    >>> predictor = Predictor('maskdino_r50_coco_panoptic', score_thr=0.5)
    >>> prediction = predictor('photo.jpg')
    >>> print(prediction)
    <Prediction photo.jpg, 640 x 480: 2 dog, 1 cat, grass>
    >>> prediction.save('picture.jpg')

    The results are those of mmdet's `DetInferencer` and mmseg's `MMSegInferencer` for the same thresholds.

    Args:
        config: Name of a model (`mmmaskdino models`), work directory, published folder or checkpoint that holds its
            config; with weights: config file, name of a config, or a config.
        weights: Checkpoint file, URL, name of a model or work directory; None for those of the model. Or a file of
            `mmmaskdino export` (.onnx), which needs no config.
        device: 'cpu', 'cuda', 'cuda:1', 1 or 'mps', for example; None for the first GPU, or else the CPU.
        kinds: Results wanted, some of 'panoptic', 'instances', 'semantic'; None for what the config says.
        score_thr: Lowest score of an instance, in [0, 1]; None for what the config says, or 0.3 where that is 0.
        max_per_image: Most instances of an image; None for what the config says.
        object_mask_thr: Panoptic: lowest class score of a segment, in [0, 1]; None for what the config says.
        overlap_thr: Panoptic: least visible share of a segment, in [0, 1]; None for what the config says.
        box_margin: Masks of things end where their box, grown by this share of its size on each side, ends; at least 0,
            None for what the config says.
        limits: What bounds the memory.
        cfg_options: Dotted config keys and their new values.
        tta: Whether to merge several views of each image, as `mmmaskdino test --tta` does.
        tta_scales: Factors of the test pipeline's size; None for 0.75, 1 and 1.25, or what the config says.
        tta_flips: Of 'horizontal', 'vertical', 'diagonal'; None for 'horizontal', or what the config says.
        tiles: Side in pixels of the tiles that images are predicted in, joined to one result; None for whole images.
        overlap: Least share of a tile that its neighbour shows, too, in [0.05, 0.75].
        runtime: What runs a file of `mmmaskdino export`, 'onnxruntime' or 'openvino'; None for the first of these that
            is installed.

    Attributes:
        on_tile: Called with the number of tiles done so far and that of all of the image, if it is set.

    Raises:
        ValueError: The config, an option or the weights are wrong.
    """

    def __init__(
        self,
        config: str | Path | Config,
        weights: str | Path | None = None,
        device: str | int | None = None,
        kinds: Sequence[str] | None = None,
        score_thr: float | None = None,
        max_per_image: int | None = None,
        object_mask_thr: float | None = None,
        overlap_thr: float | None = None,
        box_margin: float | None = None,
        limits: Limits | None = None,
        cfg_options: dict[str, Any] | None = None,
        tta: bool = False,
        tta_scales: Sequence[float] | None = None,
        tta_flips: Sequence[str] | None = None,
        tiles: int | None = None,
        overlap: float = DEFAULT_OVERLAP,
        runtime: str | None = None,
    ) -> None:
        thresholds = dict(
            score_thr=score_thr,
            max_per_image=max_per_image,
            object_mask_thr=object_mask_thr,
            overlap_thr=overlap_thr,
            box_margin=box_margin,
        )
        if not tta and (tta_scales is not None or tta_flips is not None):
            raise ValueError('--tta-scales and --tta-flips need --tta')
        if tiles is not None:
            check_tiles(tiles, overlap)
        self.limits = limits or Limits()
        self.limits.check()
        file = config if weights is None else weights
        if isinstance(file, (str, Path)) and Path(file).suffix.lower() == '.onnx':
            if tta or cfg_options or choose_device(device or 'cpu') != 'cpu':
                raise ValueError(f'{file} runs as it was exported, on the CPU: no --tta, --cfg-options and --device')
            steps = self._open_onnx(file, kinds, thresholds, runtime)
        elif runtime is not None:
            raise ValueError(f'--runtime {runtime} runs files of mmmaskdino export (.onnx), and {file} is none')
        else:
            cfg, weights = open_model(config, weights, cfg_options)
            apply_settings(cfg, kinds, thresholds)
            plain = _without_annotations(list(prediction_dataset(cfg).pipeline))
            steps = list(_with_views(cfg, plain, tta_scales, tta_flips) if tta else plain)
            self.model = build_model(cfg, weights, choose_device(device), tta)
            self._windows = (cfg.model.get('test_cfg') or {}).get('mode') == 'slide'
            self._scope = cfg.default_scope
            self._what = Path(cfg.filename or 'model').stem
            self._steps, self._model_cfg, self._views = steps, cfg.model, tta_model(cfg) if tta else None
        self.dataset_meta = self.model.dataset_meta
        with DefaultScope.overwrite_default_scope(self._scope):
            self.loader, self._pipeline = _build_pipeline(steps, self.limits)
        self.remarks = self.loader.remarks = RemarkCounts()
        self.tiles, self.overlap = tiles, overlap
        self.on_tile: Callable[[int, int], None] | None = None

    def _open_onnx(
        self, path: str | Path, kinds: Sequence[str] | None, thresholds: dict[str, Any], runtime: str | None
    ) -> list[Any]:
        """Put an exported file in the place of the model; the steps of its pipeline."""
        try:
            from mmmaskdino.export.onnx_model import OnnxModel
        except ModuleNotFoundError as error:
            if error.name not in ('onnx', 'onnxruntime', 'openvino'):
                raise
            raise ValueError(f'{path} needs the package {error.name}: pip install "mmmaskdino[export]"') from error
        thresholds = dict(thresholds)
        if thresholds['score_thr'] is None:
            thresholds['score_thr'] = DEFAULT_SCORE_THR
        model = OnnxModel(path, kinds, thresholds, runtime)
        self.model, self._windows, self._scope, self._what = model, False, 'mmdet', Path(path).stem
        settings = asdict(model.panoptic_fusion_head.settings)
        self._steps, self._model_cfg, self._views = [], dict(test_cfg=settings), None
        packing = dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape'))
        return [dict(type='LoadImageFromFile'), model.resize, packing]

    @classmethod
    def from_hub(cls, repo_id: str, revision: str | None = None, **options: Any) -> Predictor:
        """A model that was published on the Hugging Face Hub with `publish_model.py`; needs huggingface_hub.

        Args:
            repo_id: `organisation/name`.
            revision: Branch, tag or commit; None for the main branch.
            options: As of the class, but for `config` and `weights`.

        Raises:
            ValueError: It cannot be fetched or is no model of this package.
        """
        return cls(fetch_published(repo_id, revision), **options)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The results that the model gives, some of 'panoptic', 'instances', 'semantic'."""
        if self._scope == 'mmseg':
            return ('semantic',)
        settings = self.model.panoptic_fusion_head.settings
        return tuple(kind for kind in KINDS if getattr(settings, SWITCHES[kind]))

    @property
    def num_things(self) -> int | None:
        """How many of the classes, the first ones, are things; None where the model does not tell."""
        head = getattr(self.model, 'panoptic_head', None)
        return head and head.num_things_classes

    def settings(self) -> dict[str, Any]:
        """What the results depend on, as values that JSON can hold: two predictors that give the same have the same."""
        model = {key: value for key, value in self._model_cfg.items() if key not in ('test_cfg', 'train_cfg')}
        return {
            'weights': _digest_of_weights(self.model),
            'model of the config': _digest(model),
            'test pipeline': _digest([dict(step) for step in self._steps if isinstance(step, dict)]),
            'test-time augmentation': self._views,
            'tiles': self.tiles and [self.tiles, self.overlap],
            **{f'test_cfg.{key}': value for key, value in (self._model_cfg.get('test_cfg') or {}).items()},
            'results': sorted(self.kinds),
            **self.limits._asdict(),
        }

    def compile(self, **options: Any) -> None:
        """Compile backbone, pixel decoder and transformer decoder with `torch.compile`; the first images take longer.

        Args:
            options: Of `torch.compile`.
        """
        model = getattr(self.model, 'module', self.model)  # test-time augmentation wraps it
        if not isinstance(model, nn.Module):
            raise ValueError(f'{self._what} runs as it was exported: no --compile')
        for part in default_parts(model):
            attrgetter(part)(model).compile(**options)

    def __repr__(self) -> str:
        return f'<Predictor {self._what}: {", ".join(self.kinds)} of {len(self.dataset_meta["classes"])} classes>'

    def __call__(self, image: Source | Sequence[Source]) -> Prediction | list[Prediction | Failure]:
        """Predict for one image, or several.

        Args:
            image: Path, http(s) address or `-` (the standard input); the bytes of an image file; a PIL image; an array
                (h, w, 3) uint8, BGR, as OpenCV reads it; a tensor (3, h, w), RGB, uint8 or floats in 0 to 1, as
                torchvision reads it. Or a list of these, a folder, a pattern such as `photos/*.jpg`, or a text file
                that names an image per line.

        Returns:
            The results; a list of them for what stands for several images, with a `Failure` in the place of each that
            cannot be read.

        Raises:
            DataError: The one image cannot be read or is too large, or there is none.
            TypeError: It is of a kind that stands for no image.
        """
        if isinstance(image, (str, Path)) and is_many(image):
            if find_images(image).files[0].is_video:
                raise TypeError(f'{image}: take the frames of a video one by one: for result in predictor.predict(...)')
            return list(self.predict(image))
        if isinstance(image, (list, tuple)):
            return list(self.predict(list(image)))
        one = cast(Source, image)
        if self.tiles is not None:
            return predict_scene(self, one, name_of(one), on_tile=self.on_tile)
        return self._predict([self._prepare(one, name_of(one))])[0]

    def predict(
        self, images: Source | Iterable[Source | tuple[str, Source]], batch_size: int = 1, workers: int = 0
    ) -> Iterator[Prediction | Failure]:
        """Predict for many images, of which only a batch is held at a time.

        Args:
            images: What a call takes, or pairs of a name and such, or a video, or any iterable of these.
            batch_size: Most images per forward pass. Images go together while padding them to one size adds at most a
                quarter; semantic models take images of one size only.
            workers: Threads that read and resize the next images, as many ahead as there are, and a batch; 0 for none.

        Yields:
            Prediction | Failure: Per image, in the given order.

        Raises:
            DataError: A folder, pattern or video has nothing to predict.
            TypeError: `images` is of a kind that stands for no image.
            ValueError: If `batch_size` is below 1, or `workers` below 0.
        """
        check_batching(batch_size, workers)
        if isinstance(images, (str, Path, StoredImage, bytes, Image.Image, np.ndarray, Tensor)):
            images = [images]
        elif not isinstance(images, Iterable):
            raise TypeError(f'{EXPECTED}; got {type(images).__name__}')
        if self.tiles is not None:
            for name, image in self._each(images):
                yield self._predict_scene(image, name, batch_size)
            return
        batch: list[_Item] = []
        for item in map_ahead(self._try_to_prepare, self._each(images), workers, workers + batch_size - 1):
            if isinstance(item, Failure):
                yield from self._predict_each(batch)
                batch = []
                yield item
                continue
            if batch and not self._fits(item, batch):
                yield from self._predict_each(batch)
                batch = []
            batch.append(item)
            if len(batch) == batch_size:
                yield from self._predict_each(batch)
                batch = []
        yield from self._predict_each(batch)

    def predict_arrays(self, images: Sequence[tuple[str, np.ndarray]]) -> list[Prediction]:
        """Predict for some images in one forward pass, each as a whole.

        Args:
            images: Names and arrays as of a call.

        Raises:
            DataError: The pipeline hands too much to the network.
        """
        return self._predict([self._prepare(image, name) for name, image in images])

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
        return prediction.draw(kind, max_side)

    def _predict_scene(self, image: Source, name: str, batch_size: int) -> Prediction | Failure:
        try:
            return predict_scene(self, image, name, batch_size, self.on_tile)
        except Exception as error:  # whatever is wrong with one image, the others are wanted
            return _failure(name, error)

    def _each(self, images: Iterable[Source | tuple[str, Source]]) -> Iterator[tuple[str, Source]]:
        """Name and image, one by one, of what stands for several, too."""
        for image in images:
            if isinstance(image, tuple):
                yield image
            elif isinstance(image, (str, Path)) and is_many(image):
                for file in find_images(image).files:
                    if file.is_video:
                        yield from Video(cast(Path, file.path), self.limits).frames()
                    else:
                        yield str(file.path), cast(Source, file.path)
            else:
                yield name_of(image), image

    def _try_to_prepare(self, named: tuple[str, Source]) -> _Item | Failure:
        name, image = named
        try:
            return self._prepare(image, name)
        except Exception as error:  # whatever is wrong with one image, the others are wanted
            return _failure(name, error)

    def _prepare(self, image: Source, name: str) -> _Item:
        """Read the image and run the test pipeline on it."""
        start = time.perf_counter()
        image = read_source(image, name, self.loader, self.limits)
        reduced = reduce_image(image, self.limits.reduce_above * MEGA)
        data = self._run_pipeline(reduced, name)
        excess = self._excess(data)
        if excess > 1:  # the pipeline does not resize, or to something very large
            reduced = reduce_image(reduced, reduced.shape[0] * reduced.shape[1] / excess)
            data = self._run_pipeline(reduced, name)
            self._check_input(name, data)
        if reduced.shape != image.shape:
            self.remarks.add(name, _remark_on_size(image, reduced))
        return _Item(name, reduced, tuple(image.shape[:2]), data, time.perf_counter() - start)

    def _run_pipeline(self, image: np.ndarray, name: str) -> dict:
        size = tuple(image.shape[:2])
        return self._pipeline(dict(img=image, img_path=name, img_id=0, img_shape=size, ori_shape=size))

    def _excess(self, data: dict) -> float:
        """How many times more pixels than the limit the pipeline hands to the network."""
        if self._windows:
            return 0.0
        most = max(tensor.shape[-2] * tensor.shape[-1] for tensor in _input_tensors(data))
        return most / (self.limits.max_input_megapixels * MEGA)

    def _check_input(self, name: str, data: dict) -> None:
        if self._excess(data) > 1:
            height, width = max((tensor.shape[-2:] for tensor in _input_tensors(data)), key=np.prod)
            raise DataError(
                f'{name}: the test pipeline hands {width} x {height} pixels to the network, more than the limit of '
                f'{self.limits.max_input_megapixels:g} megapixels. Let the pipeline resize (for example '
                "dict(type='AntialiasedResize', scale=(1333, 800), keep_ratio=True) in "
                'test_dataloader.dataset.pipeline), or raise the limit (--max-input-megapixels, '
                'Limits.max_input_megapixels)'
            )

    def _fits(self, item: _Item, batch: list[_Item]) -> bool:
        """Whether the image may go into the batch: mmseg wants one size, and padding costs what pixels do."""
        shapes = [tuple(_input_tensors(item.data)[0].shape[-2:]) for item in (*batch, item)]
        if self._scope == 'mmseg':
            return len(set(shapes)) == 1
        padded = len(shapes) * max(h for h, _ in shapes) * max(w for _, w in shapes)
        return padded <= MAX_PADDING * sum(h * w for h, w in shapes)

    def _predict_each(self, batch: list[_Item]) -> Iterator[Prediction | Failure]:
        """Results of a batch; if that fails, of each image alone, so that only the guilty one has none."""
        if not batch:
            return
        try:
            predictions = self._predict(batch)
        except Exception as error:
            if len(batch) == 1:
                yield _failure(batch[0].name, error)
                return
            for item in batch:
                yield from self._predict_each([item])
        else:
            yield from predictions

    @torch.no_grad()
    def _predict(self, batch: list[_Item]) -> list[Prediction]:
        start = time.perf_counter()
        with DefaultScope.overwrite_default_scope(self._scope):
            samples = [sample.cpu() for sample in self.model.test_step(pseudo_collate([item.data for item in batch]))]
        seconds = (time.perf_counter() - start) / len(batch)
        meta, num_things = self.dataset_meta, self.num_things
        return [
            Prediction(item.name, item.image, sample, item.size, meta, num_things, item.seconds + seconds)
            for item, sample in zip(batch, samples, strict=True)
        ]


def check_batching(batch_size: int, workers: int) -> None:
    """Reject batches and threads that cannot be.

    Raises:
        ValueError: If `batch_size` is below 1, or `workers` below 0.
    """
    if batch_size < 1 or workers < 0:
        raise ValueError(f'expected batch_size from 1 and workers from 0, got {batch_size} and {workers}')


def map_ahead(function: Callable[[T], Any], items: Iterable[T], workers: int, most: int) -> Generator[Any, None, None]:
    """The results of a function in the order of the items, made in threads while earlier ones are used.

    Args:
        function: Called in the threads.
        items: Taken in this thread.
        workers: Number of threads; 0 for none, which calls the function when its result is wanted.
        most: Results that may be made ahead.

    Yields:
        Any: What the function returns for each.
    """
    if not workers:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(workers)
    waiting: deque[Future] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _digest_of_weights(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:12]


def _without_annotations(transforms: list[dict]) -> list[dict]:
    kept = [step for step in transforms[1:] if not step_name(step).startswith('Load')]
    return [transforms[0], *kept]


def _with_views(
    cfg: Config, transforms: list[dict], scales: Sequence[float] | None, flips: Sequence[str] | None
) -> list[dict]:
    if 'tta_pipeline' not in cfg:
        return tta_pipeline(transforms, scales, flips)
    if scales is not None or flips is not None:
        raise ValueError('the config has a tta_pipeline, which says scales and flips; change it there')
    *first, last = cfg.tta_pipeline
    slots = [[step for step in slot if not step_name(step).startswith('Load')] for slot in last['transforms']]
    return [*first, dict(last, transforms=[slot for slot in slots if slot])]


def _build_pipeline(transforms: list[Any], limits: Limits) -> tuple[LoadCheckedImage, Compose]:
    """What reads an image, and what follows."""
    options = dict(transforms[0])
    if not options.pop('type').endswith('LoadImageFromFile'):
        raise ValueError(f'the test pipeline must begin with LoadImageFromFile, got {transforms[0]}')
    options['max_pixels'] = int(limits.max_megapixels * MEGA)
    return LoadCheckedImage(**options), Compose(transforms[1:])


def _input_tensors(data: dict) -> list[Tensor]:
    """The network's inputs: one, or several with test-time augmentation."""
    return data['inputs'] if isinstance(data['inputs'], list) else [data['inputs']]


def _remark_on_size(image: np.ndarray, reduced: np.ndarray) -> Remark:
    was, now = (array.shape[0] * array.shape[1] / MEGA for array in (image, reduced))
    kind = 'large images, reduced before prediction; result files keep the original size (--reduce-above, Limits)'
    return Remark(kind, f'{was:.1f} to {now:.1f} megapixels')


def _failure(name: str, error: Exception) -> Failure:
    if isinstance(error, (DataError, TypeError)):
        return Failure(name, str(error))
    return Failure(name, f'{type(error).__name__}: {error}'.partition('\n')[0], is_internal=True)
