"""The module that is exported: a model with tensors in and tensors out."""

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmmaskdino.models.layers.prediction_heads import decode_masks
from mmmaskdino.models.seg_heads.image_queries import ImageQueries
from mmmaskdino.models.seg_heads.whole_maps import instances, panoptic_map, semantic_map
from mmmaskdino.models.utils import fusion_of, head_of
from mmmaskdino.structures import Shape, StagePrediction

INPUTS = ('images', 'image_size')
STRIDE = 32  # of the coarsest map of the backbone; the network's input is a multiple of it


class ExportedNetwork(nn.Module):
    """A detector or segmentor without data samples.

    Args:
        model (BaseModel): A detector of mmdet or a segmentor of mmseg with a head of this package.
        with_results (bool): Whether post-processing is inside; ``test_cfg`` tells which results.

    Raises:
        ValueError: If the model predicts in sliding windows, which lie outside the network.
    """

    def __init__(self, model: BaseModel, with_results: bool) -> None:
        super().__init__()
        self.model = model
        self.head, self.fusion = head_of(model), fusion_of(model)
        self.with_results = with_results
        if with_results and getattr(model, 'windows', None) is not None:
            raise ValueError(
                'model.test_cfg.mode is slide, and sliding windows are no part of the network: export whole images '
                "(--cfg-options model.test_cfg=\"{'mode': 'whole', '_delete_': True}\") or raw outputs (--outputs raw)"
            )
        self.eval()

    @property
    def output_names(self) -> tuple[str, ...]:
        """What :meth:`forward` returns."""
        settings, with_masks = self.fusion.settings, self.head.with_masks
        if not self.with_results:
            return ('class_logits', 'boxes', 'mask_logits') if with_masks else ('class_logits', 'boxes')
        names = ['scores', 'labels', 'boxes'] if settings.instance_on else []
        names += ['masks'] if settings.instance_on and settings.with_masks and with_masks else []
        names += ['panoptic'] * settings.panoptic_on + ['semantic'] * settings.semantic_on
        return tuple(names)

    @torch.no_grad()
    def forward(self, images: Tensor, image_size: Tensor) -> tuple[Tensor, ...]:
        """Predict for one image.

        Args:
            images (Tensor): (1, 3, H, W), normalised, zero in the padding right of and below the image. H and W are
                multiples of 32.
            image_size (Tensor): (2,) int64, height and width of the image without the padding.

        Returns:
            tuple[Tensor, ...]: As :attr:`output_names` says. Raw: class logits (1, num_queries, C), boxes
            (1, num_queries, 4) cxcywh in [0, 1] of (H, W), mask logits (1, num_queries, H / 4, W / 4). Results:
            scores (n,), labels (n,), boxes (n, 4) xyxy in pixels, masks (n, H, W) bool, panoptic map (H, W) int32 of
            label + 1000 * instance, semantic map (H, W) int32.
        """
        height, width = images.shape[-2:]
        sizes = [(image_size[0] / height, image_size[1] / width)]
        prediction, mask_features = self.head(self.model.extract_feat(images), sizes)
        if self.with_results:
            return self._results(prediction, mask_features, (height, width), image_size)
        raw = (prediction.cls_logits, prediction.boxes)
        return raw if mask_features is None else (*raw, decode_masks(prediction.mask_embeds, mask_features))

    def _results(
        self, prediction: StagePrediction, mask_features: Tensor | None, canvas: Shape, image_size: Tensor
    ) -> tuple[Tensor, ...]:
        queries = ImageQueries(*(None if x is None else x[0] for x in (*prediction, mask_features)))
        inside = _inside(canvas, image_size)
        settings, results = self.fusion.settings, []
        if settings.instance_on:
            results += [x for x in instances(self.fusion, queries, canvas, inside) if x is not None]
        if settings.panoptic_on:
            results.append(panoptic_map(self.fusion, queries, canvas, inside))
        if settings.semantic_on:
            results.append(semantic_map(self.fusion, queries, canvas))
        return tuple(results)


def _inside(canvas: Shape, image_size: Tensor) -> Tensor:
    """(H, W) bool, False in the padding."""
    rows = torch.arange(canvas[0], device=image_size.device) < image_size[0]
    columns = torch.arange(canvas[1], device=image_size.device) < image_size[1]
    return rows[:, None] & columns
