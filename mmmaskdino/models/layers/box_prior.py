"""What the box of a query says of its mask."""

import math

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn

from mmmaskdino.ops.device import without_autocast


@MODELS.register_module()
class BoxPrior(nn.Module):
    """Mask logits that fall with the distance from the query's own box.

    With ``u = (x - cx) / (w / 2)`` and ``v = (y - cy) / (h / 2)``, which are -1 and 1 at the sides of the box, a mask's
    logits get the addend ``a u + b v - c u^2 - d v^2 + e``. The query predicts the five weights; they start at
    ``strength * (1 - u^2 - v^2)``: 0 on the ellipse in the box, far below 0 at like objects elsewhere, which a dot
    product with features could tell apart by their position alone. Not in the paper: CondInst (Tian et al., ECCV 2020)
    hands relative coordinates to its mask heads.

    The addend is a product of five numbers per query and five maps that all queries share, so it is five more channels
    of mask embeddings and mask features: whatever samples or decodes masks need not know of it. Boxes get no gradient
    from it.

    Args:
        dim (int): Channels of the queries.
        strength (float): Weight of the squares before training, above 0.
        smallest (float): Sizes of boxes are taken as at least this, in (0, 1] of the canvas; it bounds the
            embeddings.

    Raises:
        ValueError: If an argument is out of range.
    """

    num_channels = 5

    def __init__(self, dim: int, strength: float = 1.0, smallest: float = 0.01) -> None:
        super().__init__()
        if strength <= 0 or not 0 < smallest <= 1:
            raise ValueError(
                f'box_prior needs strength > 0 and smallest in (0, 1], got strength={strength} and smallest={smallest}'
            )
        self.strength, self.smallest = strength, smallest
        self.weigh = nn.Linear(dim, self.num_channels)
        nn.init.zeros_(self.weigh.weight)
        nn.init.zeros_(self.weigh.bias)

    def embed(self, queries: Tensor, boxes: Tensor) -> Tensor:
        """The queries' part.

        Args:
            queries (Tensor): (..., num_queries, dim), normalised.
            boxes (Tensor): (..., num_queries, 4) cxcywh in [0, 1] of the canvas.

        Returns:
            Tensor: (..., num_queries, 5) float32.
        """
        with without_autocast(boxes):  # differences of large products
            weights = F.linear(queries.float(), self.weigh.weight.float(), self.weigh.bias.float())
            slopes, squares, offset = weights.split([2, 2, 1], -1)
            # Never below 0: what is far away is background whatever the query says.
            squares = F.softplus(squares + math.log(math.expm1(self.strength)))
            centers, sizes = boxes.detach().float().split(2, -1)
            centers, scales = centers - 0.5, 2 / sizes.clamp(min=self.smallest)
            squares, slopes = squares * scales**2, slopes * scales
            constant = offset + self.strength - ((squares * centers + slopes) * centers).sum(-1, keepdim=True)
            return torch.cat([slopes + 2 * squares * centers, -squares, constant], -1)

    def extend(self, mask_features: Tensor) -> Tensor:
        """The maps' part: mask features (bs, mask_dims, h, w) and x, y, their squares and 1, as float32."""
        height, width = mask_features.shape[-2:]
        y, x = (
            (torch.arange(size, dtype=torch.float32, device=mask_features.device) + 0.5) / size - 0.5
            for size in (height, width)
        )
        x, y = x.expand(height, width), y[:, None].expand(height, width)
        maps = torch.stack([x, y, x**2, y**2, torch.ones_like(x)])
        return torch.cat([mask_features.float(), maps.expand(len(mask_features), -1, -1, -1)], 1)
