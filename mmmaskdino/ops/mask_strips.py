"""Query masks at the size of the result, a strip of rows at a time, so that memory does not grow with the image.

All devices do the same, in strips of the size that :func:`~mmmaskdino.ops.device.parts` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from mmmaskdino.structures import Shape

from .device import parts

if TYPE_CHECKING:
    from mmmaskdino.models.seg_heads.image_queries import ImageFrames


def row_strips(num_maps: int, height: int, width: int, like: Tensor) -> list[slice]:
    """Cut ``height`` rows into strips of which a few temporaries, ``num_maps`` maps of ``width`` columns, are small."""
    return parts(height, 8 * num_maps * width, like) if height else []


def mask_strips(mask_logits: Tensor, frames: ImageFrames, num_maps: int = 1) -> Iterator[tuple[slice, Tensor]]:
    """Resize maps to the canvas, crop the padding and resize to the output, bilinearly, strip by strip.

    Bilinear interpolation treats rows and columns separately, so both steps are done for a strip's rows first, where
    the maps are still narrow, and then for its columns.

    Args:
        mask_logits (Tensor): (n, h, w) on the grid of the mask features, n at least 1.
        frames (ImageFrames): The sizes of the image.
        num_maps (int): How many maps of a strip the caller makes, where that is more than n.

    Yields:
        tuple[slice, Tensor]: The rows of the output and the (n, rows, W) logits there.
    """
    (canvas_height, canvas_width), (image_height, image_width), (height, width) = frames
    num_maps = max(num_maps, len(mask_logits))
    for strip in row_strips(num_maps, height, max(canvas_width, width), mask_logits):
        rows = torch.arange(strip.start, strip.stop, device=mask_logits.device)
        if image_height == height:
            maps = _resized_rows(mask_logits, rows, canvas_height)
        else:
            below, above, weight = _neighbours(rows, image_height, height)
            maps = torch.lerp(
                _resized_rows(mask_logits, below, canvas_height),
                _resized_rows(mask_logits, above, canvas_height),
                weight,
            )
        maps = _resize_columns(maps, canvas_width)[..., :image_width]
        maps = _resize_columns(maps, width)  # not in the yield: the wider maps would stay alive until the next strip
        yield strip, maps


def combined_strips(
    mask_logits: Tensor, frames: ImageFrames, combine: Callable[[Tensor], Tensor], num_maps: int
) -> Iterator[tuple[slice, Tensor]]:
    """Like ``mask_strips``, but maps are combined on the canvas, before the crop and the resize to the output.

    Args:
        mask_logits (Tensor): (n, h, w) on the grid of the mask features, n at least 1.
        frames (ImageFrames): The sizes of the image.
        combine (Callable): Pointwise function of logits: (n, rows, w) -> (num_maps, rows, w).
        num_maps (int): How many maps it returns.

    Yields:
        tuple[slice, Tensor]: The rows of the output and the (num_maps, rows, W) combined maps there.
    """
    (canvas_height, canvas_width), (image_height, image_width), (height, width) = frames
    scale = image_height / height
    most = max(num_maps, len(mask_logits)) * max(1, round(scale))
    for strip in row_strips(most, height, max(canvas_width, width), mask_logits):
        # Image rows under the strip, and one to spare on each side: the device's float32 may round across a row.
        first = max(0, int((strip.start + 0.5) * scale - 0.5) - 1)
        last = min(image_height, int((strip.stop - 0.5) * scale - 0.5) + 3)
        image_rows = torch.arange(first, last, device=mask_logits.device)
        maps = _resize_columns(_resized_rows(mask_logits, image_rows, canvas_height), canvas_width)
        maps = combine(maps[..., :image_width])
        if image_height == height:
            maps = maps[:, strip.start - first : strip.stop - first]
        else:
            rows = torch.arange(strip.start, strip.stop, device=mask_logits.device)
            below, above, weight = _neighbours(rows, image_height, height)
            maps = torch.lerp(maps[:, below - first], maps[:, above - first], weight)
        maps = _resize_columns(maps, width)
        yield strip, maps


def resized_bands(bands: Iterable[Tensor], image: Shape, output: Shape) -> Iterator[Tensor]:
    """Resize maps that come in bands of rows, bilinearly, without ever holding them whole.

    Args:
        bands (Iterable[Tensor]): Maps (n, rows, w) of the image's size, from the top.
        image (Shape): (height, width) of the maps.
        output (Shape): (height, width) of the result.

    Yields:
        Tensor: (n, rows, W), from the top.
    """
    scale = image[0] / output[0]
    kept, first, row = None, 0, 0  # the rows that are here, the first of them, and the output's next row
    for band in bands:
        kept = band if kept is None else torch.cat([kept, band], 1)
        available = first + kept.shape[1]
        # Output rows that need no row below; one is left for the next band, since the device's float32 may round.
        stop = max(row, int((available - 0.5) / scale - 0.5)) if available > 1 else row
        if available == image[0]:
            stop = output[0]
        for strip in row_strips(len(kept), stop - row, max(image[1], output[1]), kept):
            rows = torch.arange(row + strip.start, row + strip.stop, device=kept.device)
            below, above, weight = _neighbours(rows, image[0], output[0])
            yield _resize_columns(torch.lerp(kept[:, below - first], kept[:, above - first], weight), output[1])
        row = stop
        needed = min(available, max(first, int((row + 0.5) * scale - 0.5) - 1))
        kept, first = kept[:, needed - first :], needed


def _neighbours(rows: Tensor, in_size: int, out_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which two of ``in_size`` rows make up each of these rows of ``out_size``, and the second one's weight (n, 1)."""
    position = ((rows + 0.5) * (in_size / out_size) - 0.5).clamp(min=0)
    below = position.long()
    above = (below + 1).clamp(max=in_size - 1)
    return below, above, (position - below)[:, None]


def _resized_rows(maps: Tensor, rows: Tensor, out_size: int) -> Tensor:
    """Those rows that maps (n, h, w) have after their height is resized to ``out_size``: (n, len(rows), w)."""
    if maps.shape[1] == out_size:
        return maps[:, rows]
    below, above, weight = _neighbours(rows, maps.shape[1], out_size)
    return torch.lerp(maps[:, below], maps[:, above], weight)


def _resize_columns(maps: Tensor, width: int) -> Tensor:
    """Resize maps (n, rows, w) to (n, rows, width)."""
    if maps.shape[-1] == width:
        return maps
    return F.interpolate(maps[None], size=(maps.shape[1], width), mode='bilinear', align_corners=False)[0]


def best_classes(strips: Iterable[Tensor]) -> Tensor:
    """The class of the highest score at each pixel, (h, w) int64, so that the scores of a whole image never exist.

    Args:
        strips: Scores (num_classes, rows, w), from the top of the image to its bottom.
    """
    return torch.cat([scores.argmax(0) for scores in strips])
