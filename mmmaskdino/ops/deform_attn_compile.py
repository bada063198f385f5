"""Deformable attention as operators that torch.compile knows: it sees them whole and breaks no graph.

Left to it, bilinear sampling becomes a loop over single numbers, several times slower on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from mmcv.utils import ext_loader
from torch import Tensor

from mmmaskdino.structures import Shape

from .deform_attn_host import sample_gradients, sum_samples

if TYPE_CHECKING:
    from .deform_attn import LevelTensors

_EXT = ext_loader.load_ext('_ext', ['ms_deform_attn_forward', 'ms_deform_attn_backward'])

# Unknown to torch before 2.4, which does not compile the model in one piece anyway.
AVAILABLE = hasattr(torch.library, 'custom_op')


def traceable_attention(value: Tensor, levels: LevelTensors, locations: Tensor, weights: Tensor) -> Tensor:
    """mmcv's compiled operator; arguments and result as of ``MultiScaleDeformableAttnFunction``."""
    return torch.ops.mmmaskdino.deformable_attention(value, *levels, locations, weights)


def traceable_rows(value: Tensor, spatial_shapes: tuple[Shape, ...], locations: Tensor, weights: Tensor) -> Tensor:
    """:func:`sample_rows`, for the CPU."""
    sizes = [size for shape in spatial_shapes for size in shape]
    return torch.ops.mmmaskdino.sample_rows(value.contiguous(), locations.contiguous(), weights.contiguous(), sizes)


def _on_device(value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    return _EXT.ms_deform_attn_forward(value, shapes, starts, locations, weights, im2col_step=len(value))


def _on_device_backward(
    grad: Tensor, value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    grads = torch.zeros_like(value), torch.zeros_like(locations), torch.zeros_like(weights)
    tensors = value, shapes, starts, locations, weights, grad.contiguous()
    _EXT.ms_deform_attn_backward(*tensors, *grads, im2col_step=len(value))
    return grads


def _on_host(value: Tensor, locations: Tensor, weights: Tensor, sizes: Sequence[int]) -> Tensor:
    return sum_samples(value, locations, weights, _pairs(sizes))


def _on_host_backward(
    grad: Tensor, value: Tensor, locations: Tensor, weights: Tensor, sizes: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    return tuple(x.contiguous() for x in sample_gradients(grad, value, locations, weights, _pairs(sizes)))


def _pairs(sizes: Sequence[int]) -> tuple[Shape, ...]:
    return tuple(zip(sizes[::2], sizes[1::2], strict=True))


def _like_result(value: Tensor, locations: Tensor) -> Tensor:
    return value.new_empty(*locations.shape[:2], value.shape[2] * value.shape[3])


def _empty_gradients(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(tensor) for tensor in tensors)


def _remember(ctx, inputs: tuple, output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _remember_sizes(ctx, inputs: tuple, output: Tensor) -> None:
    *tensors, ctx.sizes = inputs
    ctx.save_for_backward(*tensors)


def _register() -> None:
    forward = torch.library.custom_op('mmmaskdino::deformable_attention', _on_device, mutates_args=())
    backward = torch.library.custom_op(
        'mmmaskdino::deformable_attention_backward', _on_device_backward, mutates_args=()
    )
    forward.register_fake(lambda value, shapes, starts, locations, *rest: _like_result(value, locations))
    backward.register_fake(
        lambda grad, value, shapes, starts, locations, weights: _empty_gradients(value, locations, weights)
    )

    def go_back(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        of_value, of_locations, of_weights = backward(grad, *ctx.saved_tensors)
        return of_value, None, None, of_locations, of_weights

    forward.register_autograd(go_back, setup_context=_remember)

    rows = torch.library.custom_op('mmmaskdino::sample_rows', _on_host, mutates_args=())
    rows_backward = torch.library.custom_op('mmmaskdino::sample_rows_backward', _on_host_backward, mutates_args=())
    rows.register_fake(lambda value, locations, weights, sizes: _like_result(value, locations))
    rows_backward.register_fake(
        lambda grad, value, locations, weights, sizes: _empty_gradients(value, locations, weights)
    )
    rows.register_autograd(
        lambda ctx, grad: (*rows_backward(grad, *ctx.saved_tensors, ctx.sizes), None), setup_context=_remember_sizes
    )


if AVAILABLE:
    _register()
