"""Losses of boxes."""

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn
from torchvision.ops import box_area


@MODELS.register_module()
class BoxGIoULoss(nn.Module):
    """1 - generalised IoU of each pair of boxes.

    The losses of torchvision and mmdet wait for a GPU: to choose the pairs that overlap, and to copy a constant.

    Args:
        loss_weight (float): Weight of the loss.
    """

    # Less than the area of a pixel of any image: nothing but two boxes without area are changed by it.
    eps = 1e-12

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, predicted: Tensor, wanted: Tensor, **kwargs) -> Tensor:
        """Losses per pair.

        Args:
            predicted (Tensor): (num_pairs, 4) xyxy in [0, 1].
            wanted (Tensor): (num_pairs, 4).
            kwargs: What losses of mmdet are told (``reduction_override``).

        Returns:
            Tensor: (num_pairs,).
        """
        low, high = torch.maximum(predicted, wanted), torch.minimum(predicted, wanted)
        inner = (high[:, 2:] - low[:, :2]).clamp(min=0)
        outer = low[:, 2:] - high[:, :2]
        overlap, hull = inner[:, 0] * inner[:, 1], outer[:, 0] * outer[:, 1]
        union = box_area(predicted) + box_area(wanted) - overlap
        giou = overlap / (union + self.eps) - (hull - union) / (hull + self.eps)
        return (1 - giou) * self.loss_weight
