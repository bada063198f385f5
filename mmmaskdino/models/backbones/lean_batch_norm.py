"""A frozen batch norm that keeps nothing for the backward pass."""

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mmmaskdino.ops.device import is_traced


# In the root registry, since mmcv looks norms up in the scope of the run: mmdet or mmseg.
@MODELS.register_module()
class LeanBatchNorm(nn.BatchNorm2d):
    """Batch norm whose input is freed after the forward pass, where it is frozen.

    torch keeps the input of every batch norm for the gradients of weight and bias, even of one in evaluation mode whose
    parameters have none: all outputs of the convolutions of a frozen ResNet. While this one is in training mode, or its
    weight learns, it is torch's. Parameters, buffers and results are torch's in any case. mmdet's ``FrozenBN`` keeps no
    input either, but names its state otherwise (no ``num_batches_tracked``), never learns, and is not one operation.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(bs, num_features, h, w) of the same shape."""
        learns = self.training or self.weight is None or self.weight.requires_grad or self.bias.requires_grad
        if learns or not self.track_running_stats or not torch.is_grad_enabled() or is_traced():
            return super().forward(x)
        return _FrozenNorm.apply(x, self.running_mean, self.running_var, self.weight, self.bias, self.eps)


class _FrozenNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        ctx.save_for_backward(weight * torch.rsqrt(var + eps))
        return F.batch_norm(x, mean, var, weight, bias, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        (scale,) = ctx.saved_tensors
        return grad * scale.to(grad.dtype)[:, None, None], None, None, None, None, None
