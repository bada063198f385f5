"""Matching costs. Each is called with all that is known of some queries and of the objects of their image."""

from functools import cached_property

import torch
import torch.nn.functional as F
from mmdet.models.task_modules.assigners.match_cost import BaseMatchCost
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor
from torchvision.ops import generalized_box_iou

from mmmaskdino.models.utils.boxes import cxcywh_to_xyxy
from mmmaskdino.ops.points import PointFeatures
from mmmaskdino.structures import StagePrediction


class Candidates:
    """What matching costs see of ``n`` queries; what no cost asks for is not computed.

    Args:
        stage (StagePrediction): Their prediction, (n, ...).
        features (PointFeatures | None): Mask features in the matching points; None in a model without masks.
    """

    def __init__(self, stage: StagePrediction, features: PointFeatures | None) -> None:
        self._embeds, self._features = stage.mask_embeds, features
        self.scores = stage.cls_logits.float()
        """(n, cls_out_channels) class logits, under mmdet's name."""
        self.boxes = stage.boxes.float()
        """(n, 4) cxcywh in [0, 1] of the padded canvas."""

    def __len__(self) -> int:
        return len(self.boxes)

    @cached_property
    def bboxes(self) -> Tensor:
        """(n, 4) xyxy in [0, 1]: what mmdet's costs read, told that the image is of size 1 x 1."""
        return cxcywh_to_xyxy(self.boxes)

    @cached_property
    def masks(self) -> Tensor:
        """(n, num_points) mask logits in the matching points.

        Raises:
            ValueError: In a model without masks.
        """
        if self._features is None:
            raise ValueError(
                'a matching cost compares masks, but the model has none (mask_dims=None): take the cost out of '
                'criterion.assigner.match_costs, or train with masks'
            )
        return self._features.logits(self._embeds)


@TASK_UTILS.register_module()
class BoxL1Cost(BaseMatchCost):
    """L1 distance of cxcywh boxes in [0, 1]."""

    def __call__(self, pred_instances: Candidates, gt_instances: InstanceData, **kwargs) -> Tensor:
        """Costs of all pairs.

        Args:
            pred_instances (Candidates): ``boxes``: (num_queries, 4).
            gt_instances (InstanceData): ``boxes``: (num_gts, 4).
            kwargs: What other costs need (``img_meta``).

        Returns:
            Tensor: (num_queries, num_gts).
        """
        return torch.cdist(pred_instances.boxes, gt_instances.boxes, p=1) * self.weight


@TASK_UTILS.register_module()
class BoxGIoUCost(BaseMatchCost):
    """Negative generalised IoU."""

    def __call__(self, pred_instances: Candidates, gt_instances: InstanceData, **kwargs) -> Tensor:
        """Costs of all pairs, from ``bboxes``: (n, 4) xyxy; the rest as for :class:`BoxL1Cost`."""
        return generalized_box_iou(pred_instances.bboxes, gt_instances.bboxes) * -self.weight


@TASK_UTILS.register_module()
class PointBCECost(BaseMatchCost):
    """Mean binary cross-entropy of mask logits in the matching points.

    With softplus(-x) = softplus(x) - x, one matrix product serves both signs of the target.
    """

    def __call__(self, pred_instances: Candidates, gt_instances: InstanceData, **kwargs) -> Tensor:
        """Costs of all pairs.

        Args:
            pred_instances (Candidates): ``masks``: (num_queries, num_points) logits.
            gt_instances (InstanceData): ``masks``: (num_gts, num_points) in [0, 1].
            kwargs: What other costs need (``img_meta``).

        Returns:
            Tensor: (num_queries, num_gts).
        """
        logits = pred_instances.masks
        total = F.softplus(logits).sum(-1, keepdim=True) - _products(logits, gt_instances.masks)
        return total * (self.weight / logits.shape[-1])


@TASK_UTILS.register_module()
class PointDiceCost(BaseMatchCost):
    """Dice distance of mask probabilities in the matching points, smoothed by 1."""

    def __call__(self, pred_instances: Candidates, gt_instances: InstanceData, **kwargs) -> Tensor:
        """Costs of all pairs; arguments and result as for :class:`PointBCECost`."""
        probabilities, masks = pred_instances.masks.sigmoid(), gt_instances.masks
        overlap = 2 * _products(probabilities, masks)
        size = probabilities.sum(-1, keepdim=True) + masks.sum(-1)
        return (1 - (overlap + 1) / (size + 1)) * self.weight


def _products(values: Tensor, masks: Tensor) -> Tensor:
    """``values @ masks.T``; transposed, since the few masks in front are faster where values are stored by point."""
    return (masks @ values.T).T


@TASK_UTILS.register_module()
class ThingOnlyCost:
    """Any cost, zero for stuff: decoupled boxes in panoptic models (paper, section 3.4).

    The paper sets a stuff object's box cost to the mean of the things'. A constant per object never changes the
    assignment, so 0 does the same.

    Args:
        cost (dict): Config of the cost to decouple.
    """

    def __init__(self, cost: dict) -> None:
        self.cost = TASK_UTILS.build(cost)

    def __call__(self, pred_instances: Candidates, gt_instances: InstanceData, **kwargs) -> Tensor:
        """Costs of all pairs, (num_queries, num_gts); ``gt_instances.is_thing``: (num_gts,) bool."""
        costs = self.cost(pred_instances, gt_instances, **kwargs)
        return torch.where(gt_instances.is_thing, costs, costs.new_zeros(()))
