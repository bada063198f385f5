"""The sampling of multi-scale deformable attention.

==========================  ===============================================================
device                      implementation
==========================  ===============================================================
CUDA                        mmcv's operator
CPU                         sums of table rows (:mod:`~mmmaskdino.ops.deform_attn_host`)
every other device          ``grid_sample``, level by level
a GPU or CPU, compiled      the first two, each as one operator of torch (2.4 or later)
exporters, torch before     ``grid_sample``
==========================  ===============================================================
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction
from torch import Tensor

from mmmaskdino.structures import Shape

from .deform_attn_compile import AVAILABLE, traceable_attention, traceable_rows
from .deform_attn_host import sample_rows
from .device import from_host, is_host, is_traced

# mmcv's kernel counts the numbers of a tensor in int32.
MOST_NUMBERS = 2**31 - 1


class LevelTensors(NamedTuple):
    """The levels of a memory, where it lies."""

    shapes: Tensor
    """(num_levels, 2) int64, (h, w)."""
    starts: Tensor
    """(num_levels,) int64 first token."""

    @classmethod
    def of(cls, spatial_shapes: tuple[Shape, ...], like: Tensor) -> 'LevelTensors':
        """Copied to the device of ``like`` without waiting for it."""
        sizes = [h * w for h, w in spatial_shapes]
        starts = [sum(sizes[:level]) for level in range(len(sizes))]
        return cls(*(from_host(values, like, torch.int64) for values in (spatial_shapes, starts)))


def sample_attention(
    value: Tensor,
    spatial_shapes: tuple[Shape, ...],
    locations: Tensor,
    weights: Tensor,
    levels: LevelTensors | None = None,
) -> Tensor:
    """Weighted sum of bilinear samples.

    Args:
        value (Tensor): (bs, num_points, num_heads, head_dim) float32.
        spatial_shapes (tuple[Shape, ...]): (h, w) per level.
        locations (Tensor): (bs, num_queries, num_heads, num_levels, num_samples, 2), (x, y) in [0, 1].
        weights (Tensor): (bs, num_queries, num_heads, num_levels, num_samples).
        levels (LevelTensors | None): The shapes on the device; None: they are copied there.

    Returns:
        Tensor: (bs, num_queries, num_heads * head_dim).
    """
    compiled = is_traced() and AVAILABLE and not torch.jit.is_tracing()
    by_mmcv = _mmcv_runs_on(value)
    if (is_traced() and not compiled) or not (by_mmcv or is_host(value)):
        return sample_grid(value, spatial_shapes, locations, weights)
    if not by_mmcv:
        sample = traceable_rows if compiled else sample_rows
        return sample(value, spatial_shapes, locations, weights)
    levels = LevelTensors.of(spatial_shapes, value) if levels is None else levels
    return _sample_by_mmcv(traceable_attention if compiled else _mmcv, value, levels, locations, weights)


def _mmcv_runs_on(value: Tensor) -> bool:
    return value.is_cuda


def _mmcv(value: Tensor, levels: LevelTensors, locations: Tensor, weights: Tensor) -> Tensor:
    # The last argument is how many images the operator takes at a time; the batch must be a multiple of it.
    return MultiScaleDeformableAttnFunction.apply(value, *levels, locations, weights, len(value))


def _sample_by_mmcv(operator, value: Tensor, levels: LevelTensors, locations: Tensor, weights: Tensor) -> Tensor:
    """In one call, or in as many as the kernel needs in order to count their numbers.

    Raises:
        ValueError: If the tokens of a single image are too many numbers.
    """
    value, locations, weights = value.contiguous(), locations.contiguous(), weights.contiguous()
    bs, num_queries = locations.shape[:2]
    per_query = max(locations[0, 0].numel(), value[0, 0].numel()) if bs and num_queries else 1
    if max(value.numel(), bs * num_queries * per_query) <= MOST_NUMBERS:
        return operator(value, levels, locations, weights)
    if value[0].numel() > MOST_NUMBERS:
        raise ValueError(
            f'{value.shape[1]} tokens of {value[0, 0].numel()} channels are more numbers than the {MOST_NUMBERS} that '
            "mmcv's deformable attention can count: resize the image to fewer pixels, or take the finest level out of "
            'pixel_decoder.encoder_strides'
        )
    queries_at_a_time = MOST_NUMBERS // per_query
    images = []
    for image in zip(value.split(1), locations.split(1), weights.split(1), strict=True):
        split = zip(*(x.split(queries_at_a_time, 1) for x in image[1:]), strict=True)
        parts = [operator(image[0], levels, *(x.contiguous() for x in part)) for part in split]
        images.append(torch.cat(parts, 1))
    return torch.cat(images)


def sample_grid(value: Tensor, spatial_shapes: tuple[Shape, ...], locations: Tensor, weights: Tensor) -> Tensor:
    """The same with nothing but common operations."""
    bs, _, num_heads, head_dim = value.shape
    num_queries = locations.shape[1]
    # grid_sample sees each head of each image as an image. With the queries innermost, weighting and summing the
    # samples run over contiguous memory: (num_levels, bs * num_heads, num_samples, num_queries, ...).
    grid = (2 * locations - 1).permute(3, 0, 2, 4, 1, 5).flatten(1, 2)
    weights = weights.permute(3, 0, 2, 4, 1).flatten(1, 2)
    total = 0
    levels = value.split([h * w for h, w in spatial_shapes], dim=1)
    for level, (tokens, shape) in enumerate(zip(levels, spatial_shapes, strict=True)):
        maps = tokens.permute(0, 2, 3, 1).reshape(bs * num_heads, head_dim, *shape)
        samples = F.grid_sample(maps, grid[level], align_corners=False)
        total = total + (samples * weights[level][:, None]).sum(2)
    return total.view(bs, num_heads * head_dim, num_queries).transpose(1, 2)
