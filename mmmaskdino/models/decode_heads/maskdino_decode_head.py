"""MaskDINODecodeHead: the head of Mask DINO in mmseg's segmentors."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.registry import DefaultScope
from mmengine.structures import BaseDataElement
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from mmmaskdino.models.dense_heads.maskdino_head import MaskDINOHead
from mmmaskdino.models.seg_heads.image_queries import ImageFrames, ImageQueries
from mmmaskdino.models.seg_heads.maskdino_fusion_head import MaskDINOFusionHead
from mmmaskdino.models.utils.targets import targets_from_label_maps
from mmmaskdino.ops.device import without_autocast
from mmmaskdino.structures import GroundTruth, Shape, StagePrediction, Targets


@MODELS.register_module()
class MaskDINODecodeHead(MaskDINOHead):
    """:class:`MaskDINOHead` for semantic segmentation: one object per class present, results as class maps.

    Its parts are built in mmdet's scope: an unprefixed ``DiceLoss`` is mmdet's, also in a run of mmseg.

    Args:
        num_classes (int): Number of classes.
        align_corners (bool): Read by mmseg's segmentors where they resize class maps.
        head: The arguments of :class:`MaskDINOHead` but for its class counts.

    Raises:
        ValueError: If the model has no masks.
    """

    def __init__(self, num_classes: int, align_corners: bool = False, **head: Any) -> None:
        with DefaultScope.overwrite_default_scope('mmdet'):
            super().__init__(num_things_classes=0, num_stuff_classes=num_classes, **head)
        if not self.with_masks:
            raise ValueError('semantic segmentation needs masks: set decode_head.mask_dims, got None')
        self.align_corners = align_corners
        self.out_channels = num_classes  # read by mmseg's segmentors
        settings = dict(instance_on=False, semantic_on=True, semantic_before_resize=True)
        self.fusion = MaskDINOFusionHead(0, num_classes, use_sigmoid=self.use_sigmoid, test_cfg=settings)

    def loss(
        self,
        features: Sequence[Tensor],
        samples: Sequence[SegDataSample],
        train_cfg: dict | None = None,
        truth: GroundTruth | None = None,
    ) -> dict[str, Tensor]:
        """Training losses of a batch.

        Args:
            features (Sequence[Tensor]): Backbone maps (bs, channels, h, w), finest first.
            samples (Sequence[SegDataSample]): Ground truth: ``gt_sem_seg`` (1, H, W) of the padded canvas, where
                labels from ``num_classes`` on (255) are ignored; ``img_shape`` (h, w) without the padding.
            train_cfg (dict | None): Not used; mmseg's segmentors pass it.
            truth (GroundTruth | None): As of :meth:`ground_truth`, which :class:`MaskDINOSegmentor` asks for before the
                backbone runs; None: it is made here.

        Returns:
            dict[str, Tensor]: Named losses (see :class:`MaskDINOCriterion`).
        """
        truth = self.ground_truth(samples, features[0].device) if truth is None else truth
        return super().loss(features, padded_samples(samples, tuple(samples[0].gt_sem_seg.shape)), truth)

    def targets(self, samples: Sequence[SegDataSample], device: torch.device) -> list[Targets]:
        """Training targets on the device.

        Raises:
            ValueError: If an image has no label map.
        """
        missing = [sample.get('img_path', 'an image') for sample in samples if 'gt_sem_seg' not in sample]
        if missing:
            raise ValueError(f'{missing[0]} has no gt_sem_seg: put LoadAnnotations into the training pipeline')
        label_maps = torch.stack([sample.gt_sem_seg.data[0] for sample in samples])
        return targets_from_label_maps(label_maps.to(device, non_blocking=True), torch.arange(self.num_classes))

    def predict(
        self, features: Sequence[Tensor], batch_img_metas: Sequence[dict], test_cfg: dict | None = None
    ) -> Tensor:
        """Class maps of the network's input, as mmseg's ``EncoderDecoder`` wants them.

        Args:
            features (Sequence[Tensor]): Backbone maps (bs, channels, h, w), finest first.
            batch_img_metas (Sequence[dict]): ``pad_shape`` or ``img_shape`` (h, w) of the first tells the input's size.
            test_cfg (dict | None): Not used; mmseg's segmentors pass it.

        Returns:
            Tensor: (bs, num_classes, H, W): of softmax models, the sum over the queries of class probability x mask
            probability (paper, section 3.4).
        """
        canvas = _input_size(features[0], batch_img_metas[0])
        return self.class_maps(features, canvas, canvas)

    def class_maps(self, features: Sequence[Tensor], canvas: Shape, image: Shape) -> Tensor:
        """Class maps (bs, num_classes, h, w) of images of one size in the upper left corner of a padded canvas."""
        prediction, mask_features = self.decode(features, canvas, image)
        frames = ImageFrames(canvas, image, image)
        with without_autocast(mask_features):
            maps = [self.fusion.semantic_scores(queries, frames) for queries in split_images(prediction, mask_features)]
        return torch.stack(maps)

    def decode(self, features: Sequence[Tensor], canvas: Shape, image: Shape) -> tuple[StagePrediction, Tensor]:
        """:meth:`forward` of images of one size in the upper left corner of a padded canvas."""
        (height, width), (canvas_height, canvas_width) = image, canvas
        sizes = [(height / canvas_height, width / canvas_width)] * len(features[0])
        return self(features, None if image == canvas else sizes)


def padded_samples(samples: Sequence[SegDataSample], canvas: Shape) -> list[BaseDataElement]:
    """The sizes of the images under the names that :class:`MaskDINOHead` reads."""
    return [
        BaseDataElement(metainfo=dict(img_shape=tuple(sample.img_shape[:2]), batch_input_shape=canvas))
        for sample in samples
    ]


def split_images(prediction: StagePrediction, mask_features: Tensor) -> list[ImageQueries]:
    """The predictions of each image, in float32."""
    fields = (*prediction, mask_features)
    return [ImageQueries(*(field[i].float() for field in fields)) for i in range(len(mask_features))]


def _input_size(finest: Tensor, metainfo: dict) -> Shape:
    """The size of the network's input, of which the finest map (stride 4) is a quarter, rounded up.

    A sliding window's size is in ``img_shape``, while ``pad_shape`` still is that of the whole image.
    """
    for key in ('pad_shape', 'img_shape'):
        size = tuple(metainfo.get(key) or ())[:2]
        if tuple(-(-length // 4) for length in size) == tuple(finest.shape[-2:]):
            return size
    raise ValueError(
        f'the finest map is {tuple(finest.shape[-2:])}, a quarter of neither pad_shape {metainfo.get("pad_shape")} nor '
        f'img_shape {metainfo.get("img_shape")} of {metainfo.get("img_path", "the image")}'
    )
