"""Matching costs beside mmdet's: masks in sampled points, and costs that only things carry."""

import torch
from mmdet.models.task_modules.assigners.match_cost import BaseMatchCost, CrossEntropyLossCost, DiceCost
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor

from mmmaskdino.models.utils.points import PointLogits


@TASK_UTILS.register_module()
class PointBCECost(BaseMatchCost):
    """Mean binary cross-entropy of mask logits in the matching points.

    With softplus(-x) = softplus(x) - x, one matrix product serves both signs of the target.
    """

    def __call__(self, pred_instances: InstanceData, gt_instances: InstanceData, **kwargs) -> Tensor:
        """Costs of all pairs.

        Args:
            pred_instances (InstanceData): ``masks``: (num_queries, num_points) logits; ``points``: the same as
                :class:`PointLogits`, if what the costs have in common is to be computed once.
            gt_instances (InstanceData): ``masks``: (num_gts, num_points) in [0, 1].
            kwargs: What other costs need (``img_meta``).

        Returns:
            Tensor: (num_queries, num_gts).
        """
        points = _points(pred_instances)
        total = points.softplus().sum(-1, keepdim=True) - _products(points.logits, gt_instances.masks)
        return total * (self.weight / points.logits.shape[-1])


@TASK_UTILS.register_module()
class PointDiceCost(BaseMatchCost):
    """Dice distance of mask probabilities in the matching points, smoothed by 1."""

    def __call__(self, pred_instances: InstanceData, gt_instances: InstanceData, **kwargs) -> Tensor:
        """Costs of all pairs; arguments and result as for :class:`PointBCECost`."""
        probabilities, masks = _points(pred_instances).probabilities, gt_instances.masks
        overlap = 2 * _products(probabilities, masks)
        size = probabilities.sum(-1, keepdim=True) + masks.sum(-1)
        return (1 - (overlap + 1) / (size + 1)) * self.weight


def reads_masks(cost: object) -> bool:
    """Whether a cost compares masks: their logits are many, so they are computed in parts."""
    cost = cost.cost if isinstance(cost, ThingOnlyCost) else cost
    return isinstance(cost, PointBCECost | PointDiceCost | CrossEntropyLossCost | DiceCost)


def _points(pred_instances: InstanceData) -> PointLogits:
    return pred_instances.points if 'points' in pred_instances else PointLogits(pred_instances.masks)


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

    def __call__(self, pred_instances: InstanceData, gt_instances: InstanceData, **kwargs) -> Tensor:
        """Costs of all pairs, (num_queries, num_gts); ``gt_instances.is_thing``: (num_gts,) bool."""
        costs = self.cost(pred_instances, gt_instances, **kwargs)
        return torch.where(gt_instances.is_thing, costs, costs.new_zeros(()))
