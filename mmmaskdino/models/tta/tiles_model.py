"""MaskDINOTiles: evaluation of images in tiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from torch import nn

from mmmaskdino.models.utils.parts import fusion_of
from mmmaskdino.tile_grid import TileGrid

from .base_tta import ModelWrapper, check_merge_iou
from .scenes import SceneMerger, SceneResults


@MODELS.register_module()
class MaskDINOTiles(ModelWrapper):
    """Results for whole images from what a model says of their tiles; for the pipeline of `CutTiles`.

    The model may itself be a wrapper that merges several views of each tile. Tiles go through it one after another;
    :class:`SceneMerger` says how their results become one.

    Args:
        module (dict | nn.Module): A detector or segmentor of this package, or its TTA wrapper.
        merge_iou (float): Least similarity of objects of two tiles that are one, in (0, 1].
        tta: The other arguments of mmengine's ``BaseTTAModel``.

    Raises:
        ValueError: If ``merge_iou`` is out of range.
    """

    def __init__(self, module: dict | nn.Module, merge_iou: float = 0.6, **tta: Any) -> None:
        super().__init__(module=module, **tta)
        self.merge_iou = check_merge_iou('tiles_model', merge_iou)

    @torch.no_grad()
    def test_step(self, data: dict) -> list[BaseDataElement]:
        """Results of a batch.

        Args:
            data (dict): ``inputs`` and ``data_samples``, each a list over the tiles of what the model takes, and
                ``scene``, the samples of the whole images, which have one size.

        Returns:
            list[BaseDataElement]: The samples of the whole images with ``pred_instances`` (masks as run-length codes),
            ``pred_panoptic_seg``, ``pred_sem_seg`` on the CPU.
        """
        scenes = data['scene']
        first = scenes[0].metainfo
        grid = TileGrid(tuple(first['ori_shape'][:2]), first['tiles'], first['overlap'])
        if len(grid) != len(data['inputs']):
            raise ValueError(f'{first.get("img_path", "an image")}: {len(data["inputs"])} tiles, expected {len(grid)}')
        mergers = [self._merger(grid) for _ in scenes]
        for tile, inputs, samples in zip(grid.tiles, data['inputs'], data['data_samples'], strict=True):
            for merger, sample in zip(
                mergers, self.module.test_step(dict(inputs=inputs, data_samples=samples)), strict=True
            ):
                merger.add(tile, sample.cpu())
        for scene, merger in zip(scenes, mergers, strict=True):
            self._set_results(scene, merger)
        return list(scenes)

    def merge_preds(self, data_samples_list: Any) -> Any:
        """Not how tiles are merged.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError('MaskDINOTiles merges in test_step')

    def _merger(self, grid: TileGrid) -> SceneMerger:
        fusion = fusion_of(self.module)
        is_detector = not hasattr(self.module, 'decode_head')
        panoptic = np.zeros(grid.size, np.int32) if is_detector and fusion.settings.panoptic_on else None
        semantic = np.zeros(grid.size, np.int64) if not is_detector or fusion.settings.semantic_on else None
        return SceneMerger(grid, fusion.num_things_classes, fusion.num_classes, panoptic, semantic, self.merge_iou)

    def _set_results(self, scene: BaseDataElement, merger: SceneMerger) -> None:
        results = merger.finish()
        if results.instances is not None:
            scene.pred_instances = _instances(results, merger.grid.size)
        if results.segments is not None:
            # The form of the fusion head: label + number * offset, stuff without a number, empty pixels num_classes.
            labels = np.array([merger.num_classes, *(segment.label for segment in results.segments)], np.int32)
            number = np.where(labels < merger.num_things, np.arange(len(labels)), 0)
            values = torch.from_numpy((labels + number * INSTANCE_OFFSET).astype(np.int32)[merger.panoptic])
            scene.pred_panoptic_seg = PixelData(sem_seg=values[None])
        if merger.semantic is not None:
            labels = torch.from_numpy(merger.semantic)[None]
            key = 'data' if hasattr(self.module, 'decode_head') else 'sem_seg'  # mmseg's name is data
            scene.set_data(dict(pred_sem_seg=PixelData(**{key: labels})))


def _instances(results: SceneResults, size: tuple[int, int]) -> InstanceData:
    found = results.instances
    instances = InstanceData(
        bboxes=torch.tensor([one.box for one in found], dtype=torch.float32).reshape(-1, 4),
        scores=torch.tensor([one.score for one in found], dtype=torch.float32),
        labels=torch.tensor([one.label for one in found], dtype=torch.int64),
    )
    if not found or found[0].counts is not None:
        instances.masks = [one.rle(size) for one in found]
    return instances
