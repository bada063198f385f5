"""Classification of queries: focal or softmax. A loss brings the number of its output channels with it."""

from typing import Any

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.utils import reduce_mean
from torch import Tensor, nn


@MODELS.register_module()
class QueryFocalLoss(nn.Module):
    """Sigmoid focal loss, summed over queries and classes, divided by the number of objects.

    Args:
        gamma (float): Focusing exponent.
        alpha (float): Weight of the positives.
        loss_weight (float): Weight of the loss.
        prior_prob (float | None): Probability of each class at the start of training, through the class head's bias;
            None: bias 0.
    """

    num_extra_channels = 0

    def __init__(
        self, gamma: float = 2.0, alpha: float = 0.25, loss_weight: float = 1.0, prior_prob: float | None = 0.01
    ) -> None:
        super().__init__()
        self.gamma, self.alpha, self.loss_weight, self.prior_prob = gamma, alpha, loss_weight, prior_prob

    def forward(self, cls_logits: Tensor, labels: Tensor, num_objects: Tensor) -> Tensor:
        """Loss per stage.

        Args:
            cls_logits (Tensor): (num_stages, bs, num_queries, num_classes) float32.
            labels (Tensor): (num_stages, bs, num_queries) int64; ``num_classes`` is no object.
            num_objects (Tensor): () normaliser.

        Returns:
            Tensor: (num_stages,).
        """
        return self._loss(cls_logits, labels, num_objects)

    def _loss(self, cls_logits: Tensor, labels: Tensor, num_objects: Tensor, targets: Tensor | None = None) -> Tensor:
        """:meth:`forward`; ``targets`` (num_stages, bs, num_queries) in [0, 1] say what the label's score is to be."""
        # mmdet's focal loss reads the largest label from the device.
        shape = (*labels.shape, cls_logits.shape[-1] + 1)
        is_label = cls_logits.new_zeros(shape).scatter_(-1, labels[..., None], 1.0)[..., :-1]
        wanted = is_label if targets is None else is_label * targets[..., None]
        error = (wanted - cls_logits.sigmoid()).abs()
        weights = (1 - self.alpha + (2 * self.alpha - 1) * is_label) * error**self.gamma
        loss = F.binary_cross_entropy_with_logits(cls_logits, wanted, reduction='none') * weights
        return loss.flatten(1).sum(1) * (self.loss_weight / num_objects)


@MODELS.register_module()
class PositionSupervisedFocalLoss(QueryFocalLoss):
    """Focal loss that asks of a query's class score how well its box fits (Stable-DINO, section 3.2).

    The target of a matched query is t = IoU^power of its box and its object's, scaled so that the best of an image and
    stage has 1 (less where even that overlaps by no more than 1e-3); that of stuff without a box is 1, as is that of
    denoising queries. Which weight of ``alpha`` applies follows from the label, not from t.

    Args:
        power (float): Exponent of the IoU.
        focal: The arguments of :class:`QueryFocalLoss`.
    """

    reads_overlaps = True

    def __init__(self, power: float = 2.0, **focal: Any) -> None:
        super().__init__(**focal)
        self.power = power

    def forward(
        self, cls_logits: Tensor, labels: Tensor, num_objects: Tensor, overlaps: Tensor | None = None
    ) -> Tensor:
        """Loss per stage.

        Args:
            cls_logits (Tensor): As of :class:`QueryFocalLoss`, like the next two.
            labels (Tensor): (num_stages, bs, num_queries).
            num_objects (Tensor): () normaliser.
            overlaps (Tensor | None): (num_stages, bs, num_queries) IoU of matched queries, NaN where the object has no
                box; None: all targets are 1.

        Returns:
            Tensor: (num_stages,).
        """
        if overlaps is None:
            return super().forward(cls_logits, labels, num_objects)
        targets = overlaps.nan_to_num(0) ** self.power
        best = F.pad(targets, (0, 1)).amax(-1, keepdim=True)  # a group may have no queries at all
        targets = targets / (best + 1e-8)
        targets = torch.where(overlaps.isnan(), 1.0, targets)
        return self._loss(cls_logits, labels, num_objects, targets)


@MODELS.register_module()
class QueryCrossEntropyLoss(nn.Module):
    """Softmax cross-entropy with a no-object class, the weighted mean over all queries of all ranks.

    Args:
        no_object_weight (float): Weight of the queries without object.
        loss_weight (float): Weight of the loss.
    """

    num_extra_channels = 1
    prior_prob = None

    def __init__(self, no_object_weight: float = 0.1, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.no_object_weight, self.loss_weight = no_object_weight, loss_weight

    def forward(self, cls_logits: Tensor, labels: Tensor, num_objects: Tensor) -> Tensor:
        """Loss per stage.

        Args:
            cls_logits (Tensor): (num_stages, bs, num_queries, num_classes + 1) float32.
            labels (Tensor): (num_stages, bs, num_queries) int64; ``num_classes`` is no object.
            num_objects (Tensor): Not used: the mean over queries is the normaliser.

        Returns:
            Tensor: (num_stages,).
        """
        loss = F.cross_entropy(cls_logits.flatten(0, 2), labels.flatten(), reduction='none').view(len(labels), -1)
        weights = loss.new_ones(()).where(labels != cls_logits.shape[-1] - 1, loss.new_full((), self.no_object_weight))
        weights = weights.flatten(1)
        # At least that of one query: a group may have no queries at all.
        total = reduce_mean(weights.sum(1)).clamp(min=self.no_object_weight)
        return self.loss_weight * (loss * weights).sum(1) / total
