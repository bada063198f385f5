"""Images of a dataset with what is annotated and what a model predicts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import Compose, LoadImageFromFile
from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, init_default_scope
from mmengine.structures import BaseDataElement

import mmmaskdino  # noqa: F401  registers the model
from mmmaskdino.datasets import LoadCocoPanopticAnnotations
from mmmaskdino.devices import choose_device
from mmmaskdino.hub import find_config

from .comparison import panoptic_ground_truth


class PredictedDataset:
    """A dataset beside the predictions of a model.

    Args:
        dataset (BaseDataset): A dataset in test mode.
        model (BaseModel): A trained model of mmdet or mmseg, in evaluation mode.
    """

    def __init__(self, dataset: BaseDataset, model: BaseModel) -> None:
        self.dataset = dataset
        self._model = model

    @classmethod
    def from_files(
        cls,
        config: str | Path,
        checkpoint: str | Path,
        device: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> PredictedDataset:
        """The test dataset of a config.

        Args:
            config: Config file.
            checkpoint: Its weights.
            device: As of :func:`mmmaskdino.devices.choose_device`.
            options: Changes of the config by dotted key.

        Raises:
            ValueError: The weights do not fit the model, or their file cannot be read.
        """
        # Loaded late: what predicts imports what draws.
        from mmmaskdino.apis.inference.model import build_model

        cfg = Config.fromfile(find_config(config))
        cfg.merge_from_dict(dict(options or {}))
        init_default_scope(cfg.get('default_scope', 'mmdet'))
        return cls(DATASETS.build(cfg.test_dataloader.dataset), build_model(cfg, checkpoint, choose_device(device)))

    @property
    def metainfo(self) -> dict:
        """Of the dataset: `classes` and, perhaps, `palette`."""
        return self.dataset.metainfo

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[np.ndarray, BaseDataElement]:
        """An image, (h, w, 3) uint8 RGB, with annotations and predictions in its own size."""
        image, data_sample = load_ground_truth(self.dataset, index)
        with torch.no_grad():
            prediction = self._model.test_step(pseudo_collate([self.dataset[index]]))[0]
        for key in ('pred_instances', 'pred_panoptic_seg', 'pred_sem_seg'):
            if key in prediction:
                data_sample.set_data({key: prediction.get(key)})
        return image, data_sample


def load_ground_truth(dataset: BaseDataset, index: int) -> tuple[np.ndarray, BaseDataElement]:
    """The image, (h, w, 3) uint8 RGB, and its annotations in its own size, whatever the test pipeline does to them."""
    data_info = dataset.get_data_info(index)
    is_semantic = 'reduce_zero_label' in data_info
    packed = (load_label_map if is_semantic else load_objects)(dataset, data_info)
    return packed['inputs'].permute(1, 2, 0).numpy()[..., ::-1], packed['data_samples']


def load_label_map(dataset: BaseDataset, data_info: dict) -> dict:
    """The image and label map of a dataset of mmseg."""
    from mmseg.datasets.transforms import PackSegInputs

    from mmmaskdino.datasets import LoadCheckedSegMap

    backend_args = dataset.backend_args
    steps = [LoadImageFromFile(backend_args=backend_args), LoadCheckedSegMap(backend_args=backend_args)]
    return Compose([*steps, PackSegInputs()])(data_info)


def load_objects(dataset: BaseDataset, data_info: dict) -> dict:
    """The image, objects and segments of a dataset of mmdet."""
    backend_args = dataset.backend_args
    is_panoptic = bool(data_info.get('seg_map_path'))
    if is_panoptic:
        load_annotations = LoadCocoPanopticAnnotations(backend_args=backend_args)
    else:
        with_mask = all('mask' in instance for instance in data_info['instances'])
        load_annotations = LoadAnnotations(with_bbox=True, with_mask=with_mask, backend_args=backend_args)
    load = Compose([LoadImageFromFile(backend_args=backend_args), load_annotations, PackDetInputs()])
    packed = load(data_info)
    if is_panoptic:
        data_sample: DetDataSample = packed['data_samples']
        data_sample.gt_panoptic_seg = panoptic_ground_truth(data_sample, len(dataset.metainfo['classes']))
    return packed


def write_picture(path: Path, rgb: np.ndarray) -> None:
    """Write an RGB picture; a full disk or a missing folder raises OSError."""
    path.write_bytes(cv2.imencode('.png', rgb[..., ::-1])[1])
