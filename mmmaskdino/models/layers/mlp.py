"""Small networks that see every vector by itself."""

from mmdet.models.layers import MLP as _MLP
from torch import Tensor


class MLP(_MLP):
    """mmdet's MLP on (..., dim), flattened once instead of in every layer, forward and backward."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., output_dim) from (..., input_dim)."""
        return super().forward(x.flatten(0, -2)).view(*x.shape[:-1], -1)
