"""MaskDINO: backbone, head and fusion head as a detector of mmdet."""

from mmdet.models.detectors.base import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from torch import Tensor

from mmmaskdino.models.backbones.map_checks import check_maps
from mmmaskdino.models.dense_heads.maskdino_head import valid_sizes, with_shared


@MODELS.register_module()
class MaskDINO(BaseDetector):
    """One transformer for detection, instance, panoptic and semantic segmentation (Li et al., CVPR 2023).

    Args:
        backbone (dict): Config of the backbone.
        panoptic_head (dict): Config of the head.
        panoptic_fusion_head (dict): Config of the fusion head; class counts and kind of classification come from the
            head.
        neck (dict | None): Config of a neck between backbone and head.
        test_cfg (dict | None): Options of the fusion head: which results, thresholds.
        data_preprocessor (dict | None): Config of the data preprocessor.
        init_cfg (dict | None): Initialisation config.
    """

    def __init__(
        self,
        backbone: dict,
        panoptic_head: dict,
        panoptic_fusion_head: dict,
        neck: dict | None = None,
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        if neck is not None:
            self.neck = MODELS.build(neck)
        self.panoptic_head = head = MODELS.build(panoptic_head)
        self.panoptic_fusion_head = MODELS.build(
            with_shared(
                'panoptic_fusion_head',
                panoptic_fusion_head,
                owner='panoptic_head and test_cfg',
                num_things_classes=head.num_things_classes,
                num_stuff_classes=head.num_stuff_classes,
                use_sigmoid=head.use_sigmoid,
                test_cfg=test_cfg,
            )
        )
        self.test_cfg = test_cfg

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """Maps (bs, channels, h, w) of the backbone (and neck) from images (bs, 3, H, W)."""
        features = self.backbone(batch_inputs)
        if self.with_neck:
            features = self.neck(features)
        pixel_decoder = self.panoptic_head.pixel_decoder
        check_maps(batch_inputs, features, pixel_decoder.in_channels, pixel_decoder.in_strides)
        return features

    def loss(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> dict[str, Tensor]:
        """Training losses.

        Args:
            batch_inputs (Tensor): Normalised images (bs, 3, H, W).
            batch_data_samples (SampleList): Ground truth.

        Returns:
            dict[str, Tensor]: Named losses.
        """
        # Before the backbone: copying masks and asking other ranks would wait for all that a device has to do.
        truth = self.panoptic_head.ground_truth(batch_data_samples, batch_inputs.device)
        return self.panoptic_head.loss(self.extract_feat(batch_inputs), batch_data_samples, truth)

    def predict(self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True) -> SampleList:
        """Results as ``test_cfg`` asks for them.

        Args:
            batch_inputs (Tensor): Normalised images (bs, 3, H, W).
            batch_data_samples (SampleList): Metadata of the images.
            rescale (bool): Whether results are in the original image's size rather than in the network's input.

        Returns:
            SampleList: The samples with ``pred_instances``, ``pred_panoptic_seg``, ``pred_sem_seg``.
        """
        prediction, mask_features = self._forward(batch_inputs, batch_data_samples)
        results = self.panoptic_fusion_head.predict(
            cls_logits=prediction.cls_logits,
            boxes=prediction.boxes,
            mask_embeds=prediction.mask_embeds,
            mask_features=mask_features,
            batch_data_samples=batch_data_samples,
            rescale=rescale,
        )
        names = dict(ins_results='pred_instances', pan_results='pred_panoptic_seg', sem_results='pred_sem_seg')
        for sample, result in zip(batch_data_samples, results, strict=True):
            for key, value in result.items():
                setattr(sample, names[key], value)
        return batch_data_samples

    def _forward(self, batch_inputs: Tensor, batch_data_samples: SampleList | None = None):
        """Raw prediction of the last layer and the mask features."""
        sizes = batch_data_samples and valid_sizes(batch_data_samples)
        return self.panoptic_head(self.extract_feat(batch_inputs), sizes)
