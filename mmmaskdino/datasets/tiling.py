"""A test pipeline for images that are too large for the network: tiles instead of one view."""

from __future__ import annotations

from collections.abc import Sequence

from mmcv.transforms import BaseTransform, Compose
from mmengine.registry import TRANSFORMS

from mmmaskdino.tile_grid import TileGrid, check_tiles

IMAGE_KEYS = ('img_path', 'img_id')  # of the image as a whole, which its tiles have too


@TRANSFORMS.register_module()
class CutTiles(BaseTransform):
    """Cut an image into tiles that overlap, each of which goes through the rest of the pipeline; for `MaskDINOTiles`.

    Required Keys: img, and what `packing` packs (annotations of the whole image).

    Results:

    - inputs: list over the tiles of what `transforms` make
    - data_samples: list over the tiles of the same
    - scene: the data sample of the whole image, with its annotations and, in the metainfo, `tiles` and `overlap`

    Args:
        tiles: Side of the tiles in pixels of the image, at least 32.
        overlap: Least share of a tile that its neighbour shows, too, in [0.05, 0.75].
        transforms: Configs of the steps for a tile, the last of which packs it; no annotations.
        packing: Config of the step that packs the annotations of the whole image.

    Raises:
        ValueError: If tiles or overlap are out of range.
    """

    def __init__(self, tiles: int, overlap: float, transforms: Sequence[dict], packing: dict) -> None:
        check_tiles(tiles, overlap)
        self.tiles, self.overlap = tiles, overlap
        self.transforms, self.packing = Compose(list(transforms)), Compose([packing])

    def transform(self, results: dict) -> dict:
        """Cut the image."""
        image = results['img']
        packed = []
        for tile in TileGrid(image.shape[:2], self.tiles, self.overlap).tiles:
            part, size = image[tile.region.slices], tile.region.shape
            known = {key: results[key] for key in IMAGE_KEYS if key in results}
            packed.append(self.transforms(dict(known, img=part, img_shape=size, ori_shape=size)))
        # Only the annotations are wanted of the whole image, so a pixel of it is packed.
        scene = self.packing(dict(results, img=image[:1, :1]))['data_samples']
        scene.set_metainfo(dict(ori_shape=image.shape[:2], tiles=self.tiles, overlap=self.overlap))
        return dict(
            inputs=[tile['inputs'] for tile in packed],
            data_samples=[tile['data_samples'] for tile in packed],
            scene=scene,
        )

    def __repr__(self) -> str:
        return f'{type(self).__name__}(tiles={self.tiles}, overlap={self.overlap}, transforms={self.transforms})'
