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


class NoMasksError(ValueError):
    """A cost compares masks where there are none."""


class Candidates:
    """What matching costs see of ``n`` queries; what no cost asks for is not computed.

    Args:
        stage (StagePrediction): Their prediction, (n, ...).
        features (PointFeatures | None): Mask features in the matching points; None in a model without masks.
        stage_boxes (Tensor | None): (num_stages, num_queries, 4) of all queries; None: these are all, of one stage.
        part (slice): Which of all queries, stage after stage, these are.
    """

    def __init__(
        self,
        stage: StagePrediction,
        features: PointFeatures | None,
        stage_boxes: Tensor | None = None,
        part: slice = slice(None),
    ) -> None:
        self._embeds, self._features, self._part = stage.mask_embeds, features, part
        self.stage_boxes = (stage.boxes[None] if stage_boxes is None else stage_boxes).float()
        """(num_stages, num_queries, 4) cxcywh of all queries of the image, for costs that compare a query with them."""
        self.scores = stage.cls_logits.float()
        """(n, cls_out_channels) class logits, under mmdet's name."""
        self.boxes = stage.boxes.float()
        """(n, 4) cxcywh in [0, 1] of the padded canvas."""

    def __len__(self) -> int:
        return len(self.boxes)

    @cached_property
    def stages(self) -> Tensor:
        """(n,) int64, the stage of each query in ``stage_boxes``."""
        num_stages, num_queries = self.stage_boxes.shape[:2]
        return torch.arange(num_stages, device=self.boxes.device).repeat_interleave(num_queries)[self._part]

    @cached_property
    def bboxes(self) -> Tensor:
        """(n, 4) xyxy in [0, 1]: what mmdet's costs read, told that the image is of size 1 x 1."""
        return cxcywh_to_xyxy(self.boxes)

    @cached_property
    def masks(self) -> Tensor:
        """(n, num_points) mask logits in the matching points.

        Raises:
            NoMasksError: Of queries without masks.
        """
        if self._features is None or self._embeds is None:
            raise NoMasksError(
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
class PositionModulatedFocalCost(BaseMatchCost):
    """Focal cost of the class score times how near the boxes are, p * u^power (Stable-DINO, section 3.3).

    u = (GIoU + 1) / 2 of the query's and the object's boxes, scaled so that the largest of an image and stage is 1; of
    stuff without boxes (``decouple_stuff``) it is 1. mmdet's `FocalLossCost` is the same with u = 1.

    Args:
        power (float): Exponent of u.
        alpha (float): Weight of the positives.
        gamma (float): Focusing exponent.
        eps (float): Added to probabilities before their logarithm.
        weight (float): Weight of the cost.
    """

    def __init__(
        self, power: float = 0.5, alpha: float = 0.25, gamma: float = 2.0, eps: float = 1e-12, weight: float = 1.0
    ) -> None:
        super().__init__(weight=weight)
        self.power, self.alpha, self.gamma, self.eps = power, alpha, gamma, eps

    def __call__(self, pred_instances: Candidates, gt_instances: InstanceData, **kwargs) -> Tensor:
        """Costs of all pairs.

        Args:
            pred_instances (Candidates): ``scores``: (num_queries, cls_out_channels) logits, ``bboxes`` and
                ``stage_boxes``.
            gt_instances (InstanceData): ``labels``, ``bboxes`` and ``is_thing``: (num_gts, ...).
            kwargs: What other costs need (``img_meta``).

        Returns:
            Tensor: (num_queries, num_gts).
        """
        is_thing, wanted = gt_instances.is_thing, gt_instances.bboxes
        best = torch.stack(
            [
                # The row of zeros is for a group that has no queries.
                F.pad(torch.where(is_thing, _nearness(cxcywh_to_xyxy(boxes), wanted), 0.0), (0, 0, 0, 1)).amax()
                for boxes in pred_instances.stage_boxes
            ]
        )
        nearness = _nearness(pred_instances.bboxes, wanted) / (best + self.eps)[pred_instances.stages, None]
        nearness = torch.where(is_thing, nearness, 1.0)
        p = pred_instances.scores.sigmoid()[:, gt_instances.labels] * nearness**self.power
        positive = -(p + self.eps).log() * self.alpha * (1 - p) ** self.gamma
        negative = -(1 - p + self.eps).log() * (1 - self.alpha) * p**self.gamma
        return (positive - negative) * self.weight


def _nearness(boxes: Tensor, others: Tensor) -> Tensor:
    """(GIoU + 1) / 2 of all pairs, (n, m) in [0, 1], from xyxy boxes (n, 4) and (m, 4)."""
    return (generalized_box_iou(boxes, others) + 1) / 2


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
