"""MaskDINOSegTTA: test-time augmentation of the segmentor of mmseg."""

from collections.abc import Sequence
from typing import Any

from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

from mmmaskdino.models.decode_heads.maskdino_decode_head import split_images
from mmmaskdino.models.seg_heads.image_queries import ImageFrames
from mmmaskdino.models.segmentors.maskdino_segmentor import pad_to_stride, without_padding
from mmmaskdino.ops.mask_strips import best_classes

from .base_tta import ViewOfSample, ViewsTTA
from .merging import united_queries
from .views import View, flipped_axes


@MODELS.register_module()
class MaskDINOSegTTA(ViewsTTA):
    """Semantic segmentation from the average class maps of several views of an image.

    As in :class:`MaskDINOSegmentor`, labels are decided a strip of rows at a time. A single upright view gives what the
    model itself gives.

    Args:
        module (dict | nn.Module): The segmentor, a :class:`MaskDINOSegmentor` with ``test_cfg.mode='whole'``.
        tta: The other arguments of mmengine's ``BaseTTAModel``.

    Raises:
        ValueError: If the segmentor works in windows.
    """

    def __init__(self, module: dict | nn.Module, **tta: Any) -> None:
        super().__init__(module=module, **tta)
        if self.module.windows is not None:
            raise ValueError("test-time augmentation needs model.test_cfg.mode='whole', got 'slide'")

    def predict_view(self, batch: dict) -> list[ViewOfSample]:
        """Queries of the last decoder layer for one view of each image of a batch."""
        model = self.module
        batch = model.data_preprocessor(batch, False)
        samples = batch['data_samples']
        images = without_padding(batch['inputs'], samples)
        padded = pad_to_stride(images)
        canvas, image = tuple(padded.shape[-2:]), tuple(images.shape[-2:])
        queries = split_images(*model.decode_head.decode(model.extract_feat(padded), canvas, image))
        frames = [ImageFrames(canvas, image, tuple(sample.ori_shape[:2])) for sample in samples]
        flips = [flipped_axes(sample.metainfo) for sample in samples]
        return [(View(*fields), sample) for *fields, sample in zip(queries, frames, flips, samples, strict=True)]

    def set_results(self, sample: SegDataSample, views: Sequence[View], reference: View) -> None:
        """Write the label map into the sample, as ``pred_sem_seg`` (1, h, w) int64."""
        strips = self.module.decode_head.fusion.semantic_strips(united_queries(views, reference), reference.frames)
        sample.set_data(dict(pred_sem_seg=PixelData(data=best_classes(strips)[None])))
