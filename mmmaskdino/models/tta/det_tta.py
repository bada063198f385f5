"""MaskDINOTTA: test-time augmentation of the detector of mmdet."""

from collections.abc import Sequence
from typing import Any

from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import PixelData
from torch import nn

from mmmaskdino.models.dense_heads.maskdino_head import valid_sizes
from mmmaskdino.models.seg_heads.image_queries import ImageFrames, ImageQueries
from mmmaskdino.ops.mask_strips import best_classes

from .base_tta import ViewOfSample, ViewsTTA, check_merge_iou
from .merging import merged_queries, united_queries
from .views import View, flipped_axes


@MODELS.register_module()
class MaskDINOTTA(ViewsTTA):
    """Boxes, instances, panoptic and semantic segmentation from several views of an image.

    Views are merged before results are made: all results follow from the merged queries by the rules of the fusion
    head, in the frame of the largest view, and its thresholds apply to them. Instances and panoptic segments come from
    queries that were merged by the IoU of their masks or, of things, of their boxes, see :func:`merged_queries`;
    semantic maps from the average of the views' class maps. A single upright view gives what the model itself gives.

    Of each view the queries and mask features are kept, so memory grows with the number of views, not with the
    original image.

    Args:
        module (dict | nn.Module): The detector.
        merge_iou (float): Least IoU of masks or boxes that are merged, in (0, 1].
        tta: The other arguments of mmengine's ``BaseTTAModel``.

    Raises:
        ValueError: If ``merge_iou`` is out of range.
    """

    def __init__(self, module: dict | nn.Module, merge_iou: float = 0.6, **tta: Any) -> None:
        super().__init__(module=module, **tta)
        self.merge_iou = check_merge_iou('tta_model', merge_iou)

    def predict_view(self, batch: dict) -> list[ViewOfSample]:
        """Queries of the last decoder layer for one view of each image of a batch."""
        model = self.module
        batch = model.data_preprocessor(batch, False)
        inputs, samples = batch['inputs'], batch['data_samples']
        prediction, mask_features = model.panoptic_head(model.extract_feat(inputs), valid_sizes(samples))
        fields = (*prediction, mask_features)
        views = []
        for i, sample in enumerate(samples):
            queries = ImageQueries(*(None if field is None else field[i].float() for field in fields))
            frames = ImageFrames.from_metainfo(sample.metainfo, rescale=True)
            views.append((View(queries, frames, flipped_axes(sample.metainfo)), sample))
        return views

    def set_results(self, sample: DetDataSample, views: Sequence[View], reference: View) -> None:
        """Write what the fusion head's settings ask for into the sample."""
        fusion = self.module.panoptic_fusion_head
        settings, frames = fusion.settings, reference.frames
        if settings.instance_on or settings.panoptic_on:
            merged = merged_queries(views, reference, fusion, self.merge_iou)
        if settings.instance_on:
            sample.pred_instances = fusion.predict_instances(merged, frames)
        if settings.panoptic_on:
            sample.pred_panoptic_seg = PixelData(sem_seg=fusion.panoptic_map(merged, frames)[None])
        if settings.semantic_on:
            strips = fusion.semantic_strips(united_queries(views, reference), frames)
            sample.pred_sem_seg = PixelData(sem_seg=best_classes(strips)[None])
