"""Floating-point operations of a call, with those of deformable attention."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

aten = torch.ops.aten


def count_flops(function: Callable[[], Any]) -> int:
    """Floating-point operations of matrix products, convolutions, attention and sampling; a product-sum counts as two.

    Args:
        function (Callable): What to run, on the CPU: there all sampling is visible to torch.

    Returns:
        int: The count.
    """
    counter = FlopCounterMode(display=False, custom_mapping=FORMULAS)
    with counter:
        function()
    return counter.get_total_flops()


def _raw(formula: Callable[..., int]) -> Callable[..., int]:
    """Hand the formula the tensors themselves, where torch would hand it their shapes."""
    formula._get_raw = True
    return formula


@_raw
def _sum_of_rows(table: Tensor, rows: Tensor, *args: Any, **kwargs: Any) -> int:
    """A weight times a row, added up."""
    return 2 * rows.numel() * table.shape[1]


@_raw
def _grid_sample(maps: Tensor, grid: Tensor, *args: Any, **kwargs: Any) -> int:
    """Four cells times their weights, per channel and sample."""
    return 2 * 4 * maps.shape[1] * grid.shape[:-1].numel()


@_raw
def _attention(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> int:
    """Products with the keys and with the values."""
    return 2 * query.shape[:-1].numel() * key.shape[-2] * (key.shape[-1] + value.shape[-1])


FORMULAS = {
    aten._embedding_bag_forward_only: _sum_of_rows,
    aten._embedding_bag: _sum_of_rows,
    aten.grid_sampler_2d: _grid_sample,
}
if hasattr(aten, '_scaled_dot_product_flash_attention_for_cpu'):  # since torch 2.2
    FORMULAS[aten._scaled_dot_product_flash_attention_for_cpu] = _attention
