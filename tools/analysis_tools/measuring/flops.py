"""Floating-point operations of a call, with those of deformable attention."""

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Size
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


def _sum_of_rows(table: Size, rows: Size, *args: Any, **kwargs: Any) -> int:
    """A weight times a row, added up."""
    return 2 * prod(rows) * table[1]


def _grid_sample(maps: Size, grid: Size, *args: Any, **kwargs: Any) -> int:
    """Four cells times their weights, per channel and sample."""
    return 2 * 4 * maps[1] * prod(grid[:-1])


def _attention(query: Size, key: Size, value: Size, *args: Any, **kwargs: Any) -> int:
    """Products with the keys and with the values."""
    return 2 * prod(query[:-1]) * key[-2] * (key[-1] + value[-1])


# torch hands the formulas the shapes of the tensors.
FORMULAS = {
    aten._embedding_bag_forward_only: _sum_of_rows,
    aten._embedding_bag: _sum_of_rows,
    aten.grid_sampler_2d: _grid_sample,
}
if hasattr(aten, '_scaled_dot_product_flash_attention_for_cpu'):  # since torch 2.2
    FORMULAS[aten._scaled_dot_product_flash_attention_for_cpu] = _attention
