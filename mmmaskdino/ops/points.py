"""Point sampling: the loss and the matching look at masks only in random points (PointRend).

======================  =======================================  ==================
what is sampled         CPU                                      every other device
======================  =======================================  ==================
mask features           sums of table rows, or the logits' maps  ``grid_sample``
true masks              four neighbours                          the same
======================  =======================================  ==================
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmmaskdino.structures import Shape

from .device import from_host, is_host, without_autocast
from .rows import RowScatter, sum_rows


class PointFeatures(NamedTuple):
    """Mask features of an image in sampled points: what turns mask embeddings into logits there.

    The bilinear sample of a dot product is the dot product of the bilinear sample. So the features are sampled, once
    for all masks. On a CPU, maps of the logits are sampled instead where that multiplies fewer numbers.
    """

    features: Tensor
    """(mask_dims, h * w) of the map's cells, or (mask_dims, num_points) of the points; float32."""
    cells: Tensor | None
    """(num_points, 4) int32, the cells around each point; None where ``features`` are of the points."""
    shares: Tensor | None
    """(num_points, 4) float32, their bilinear weights."""

    @classmethod
    def sample(cls, features: Tensor, points: Tensor) -> 'PointFeatures':
        """Of a map.

        Args:
            features (Tensor): (mask_dims, h, w).
            points (Tensor): (num_points, 2), (x, y) in [0, 1].

        Returns:
            PointFeatures: In the form that is cheaper for many masks.
        """
        if not is_host(features):
            grid = (2 * points - 1)[None, None]
            return cls(F.grid_sample(features[None].float(), grid, align_corners=False)[0, :, 0], None, None)
        cells, shares = bilinear_cells(points, features.shape[-2:])
        features = features.flatten(1).float()
        if features.shape[1] < len(points):
            return cls(features, cells, shares)
        return cls(sum_rows(features.T.contiguous(), cells, shares).T, None, None)

    def first(self, num_points: int) -> 'PointFeatures':
        """The same of the first points alone."""
        if self.cells is None:
            return self._replace(features=self.features[:, :num_points])
        return self._replace(cells=self.cells[:num_points], shares=self.shares[:num_points])

    def logits(self, mask_embeds: Tensor) -> Tensor:
        """Mask logits (num_masks, num_points) float32 of embeddings (num_masks, mask_dims), whatever autocast says."""
        with without_autocast(mask_embeds):
            if self.cells is None:
                return mask_embeds.float() @ self.features
            # Row by row: the rows of a table hold all maps of a cell.
            return sum_rows(self.features.T @ mask_embeds.float().T, self.cells, self.shares).T

    def spreader(self) -> Callable[[Tensor, Tensor], Tensor]:
        """The way back of some of the :meth:`logits`: from gradients in chosen points to those of the products.

        Returns:
            Callable: From gradients (num_masks, num_chosen) and int64 indices of points, each once per mask, to the
            gradient (num_masks, columns of ``features``) of ``mask_embeds @ features``.
        """
        if self.cells is None:
            return lambda grads, index: grads.new_zeros(len(grads), self.features.shape[1]).scatter_(1, index, grads)
        scatter = RowScatter.of(self.cells, self.shares, self.features.shape[1])

        def spread(grads: Tensor, index: Tensor) -> Tensor:
            of_points = grads.new_zeros(len(grads), len(self.cells)).scatter_(1, index, grads)
            return scatter.add_up(of_points.T.contiguous()).T

        return spread


def bilinear_cells(points: Tensor, shape: Shape) -> tuple[Tensor, Tensor]:
    """The four cells around each point.

    Args:
        points (Tensor): (num_points, 2), (x, y) in [0, 1].
        shape (Shape): (h, w) of the map.

    Returns:
        tuple[Tensor, Tensor]: (num_points, 4) int32 indices into the flat map and their float32 weights, 0 for what
        lies outside the map.
    """
    h, w = shape
    size = from_host([w, h], points)
    positions = points.float() * size - 0.5
    low = positions.floor()
    ends = torch.stack([low, low + 1])
    weights = (1 - (positions - ends).abs()) * ((ends >= 0) & (ends < size))
    x, y = torch.minimum(ends.clamp(min=0), size - 1).int().unbind(-1)
    cells = y[:, None] * w + x
    shares = weights[:, None, :, 1] * weights[..., 0]
    return cells.flatten(0, 1).T.contiguous(), shares.flatten(0, 1).T.contiguous()


def sample_binary_masks(masks: Tensor, points: Tensor) -> Tensor:
    """Bilinear samples of binary masks, without a float copy of them.

    Args:
        masks (Tensor): (num_masks, h, w) bool.
        points (Tensor): (num_points, 2), (x, y) in [0, 1].

    Returns:
        Tensor: (num_masks, num_points) float32 in [0, 1]; what lies outside the mask counts as 0.
    """
    cells, shares = bilinear_cells(points, masks.shape[-2:])
    masks = masks.flatten(1)
    return sum(masks[:, cell] * share for cell, share in zip(cells.T, shares.T, strict=True))


def move_out(points: Tensor, ignored: Tensor) -> Tensor:
    """Replace points in ignored pixels by uniformly random ones elsewhere, without waiting for the device.

    Args:
        points (Tensor): (num_points, 2), (x, y) in [0, 1).
        ignored (Tensor): (h, w) bool. Where all is True, points lie anywhere; there is no object then.

    Returns:
        Tensor: (num_points, 2).
    """
    h, w = ignored.shape
    size = from_host([w, h], points)
    x, y = (points * size).long().unbind(-1)
    inside = ignored[y.clamp(0, h - 1), x.clamp(0, w - 1)]
    # Each pixel that is not ignored is one step of this staircase, so a uniform height picks a uniform pixel.
    staircase = (~ignored).flatten().cumsum(0)
    height = (torch.rand_like(points[:, 0]) * staircase[-1]).long() + 1
    pixels = torch.searchsorted(staircase, height).clamp(max=h * w - 1)
    corner = torch.stack([pixels % w, pixels // w], -1)
    moved = (corner + torch.rand_like(points)) / size
    return torch.where(inside[:, None], moved, points)
