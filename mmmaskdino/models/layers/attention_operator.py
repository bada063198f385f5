"""mmcv's compiled deformable attention, as an operator that compilers know: they see it whole and break no graph."""

import torch
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction
from mmcv.utils import ext_loader
from torch import Tensor

_EXT = ext_loader.load_ext('_ext', ['ms_deform_attn_forward', 'ms_deform_attn_backward'])


def _forward(
    value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, weights: Tensor, im2col_step: int
) -> Tensor:
    return _EXT.ms_deform_attn_forward(value, shapes, starts, locations, weights, im2col_step=im2col_step)


def _backward(
    grad: Tensor, value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, weights: Tensor, im2col_step: int
) -> tuple[Tensor, Tensor, Tensor]:
    grads = torch.zeros_like(value), torch.zeros_like(locations), torch.zeros_like(weights)
    tensors = value, shapes, starts, locations, weights, grad.contiguous()
    _EXT.ms_deform_attn_backward(*tensors, *grads, im2col_step=im2col_step)
    return grads


def _remember(ctx, inputs: tuple, output: Tensor) -> None:
    *tensors, ctx.im2col_step = inputs
    ctx.save_for_backward(*tensors)


def _go_back(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
    of_value, of_locations, of_weights = _traceable_backward(grad, *ctx.saved_tensors, ctx.im2col_step)
    return of_value, None, None, of_locations, of_weights, None


if hasattr(torch.library, 'custom_op'):
    traceable_attention = torch.library.custom_op('mmmaskdino::deformable_attention', _forward, mutates_args=())
    _traceable_backward = torch.library.custom_op(
        'mmmaskdino::deformable_attention_backward', _backward, mutates_args=()
    )

    @traceable_attention.register_fake
    def _(value, shapes, starts, locations, weights, im2col_step):
        return value.new_empty(*locations.shape[:2], value.shape[2] * value.shape[3])

    @_traceable_backward.register_fake
    def _(grad, value, shapes, starts, locations, weights, im2col_step):
        return tuple(torch.empty_like(x) for x in (value, locations, weights))

    traceable_attention.register_autograd(_go_back, setup_context=_remember)
else:  # torch before 2.4, where the graph breaks here
    traceable_attention = MultiScaleDeformableAttnFunction.apply
