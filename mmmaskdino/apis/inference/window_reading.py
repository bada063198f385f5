"""Reading parts of images that are too large to be read whole. No torch."""

from __future__ import annotations

import importlib
import math
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np
from PIL import UnidentifiedImageError

from mmmaskdino.datasets.files import DataError
from mmmaskdino.datasets.image_reading import DARK_BELOW, DARK_KIND, Remark, RemarkCounts
from mmmaskdino.tile_grid import Region

from .reading import MEGA, STDIN, Limits, is_address, read_source, stored_size

if TYPE_CHECKING:
    from types import ModuleType

    from mmmaskdino.datasets.image_loading import LoadCheckedImage

READ_WHOLE = 16 * MEGA  # pixels; a larger image is read by windows where that can be done
TIFF_SUFFIXES = {'.tif', '.tiff', '.btf', '.tf8', '.svs', '.ndpi'}
CACHE_BYTES = 256 * 2**20  # of decoded strips and tiles of a TIFF file
EXTRA = 'pip install "mmmaskdino[scenes]"'
MAKE_TILES = 'gdal_translate -co TILED=YES -co COMPRESS=DEFLATE -co BIGTIFF=IF_SAFER IN OUT.tif'
ORIENTATION = 274  # tag of a TIFF
GREY_OR_RGB = {1, 2}  # photometric interpretations: black is zero, RGB
YCBCR = 6  # another, which is decoded to RGB where it is compressed as JPEG
JPEG = {6, 7, 33007, 34892}  # compressions


class Windows(Protocol):
    """An image that is read part by part."""

    size: tuple[int, int]
    """(height, width)."""

    def read(self, region: Region) -> np.ndarray:
        """A part of it, (h, w, 3) uint8, BGR.

        Raises:
            DataError: The file is damaged.
        """


class WholeImage:
    """An image in memory.

    Args:
        image: (h, w, 3) uint8, BGR.
    """

    def __init__(self, image: np.ndarray) -> None:
        self._image, self.size = image, image.shape[:2]

    def read(self, region: Region) -> np.ndarray:
        """A part of it."""
        return self._image[region.slices]


def open_windows(source: Any, name: str, loader: LoadCheckedImage, limits: Limits, remarks: RemarkCounts) -> Windows:
    """Open an image for reading by windows.

    Images of up to 16 megapixels, and those of other kinds than files, are read whole. Of larger files TIFF is read by
    windows with tifffile, what that cannot read with rasterio, if these are installed; the rest is read whole.

    Args:
        source: As `read_source` takes it.
        name: What to call it in messages.
        loader: Decodes whole files.
        limits: Of these, `max_megapixels`, which applies to images that are read whole.
        remarks: Takes what is lost by reading 8 bits.

    Raises:
        DataError: The image cannot be read, or is too large to be read whole and cannot be read by windows.
        TypeError: The source is of a kind that stands for no image.
    """
    if not isinstance(source, (str, Path)) or source == STDIN or is_address(source):
        return WholeImage(read_source(source, name, loader, limits))
    reasons = []
    size = _size_in_header(source, name)
    if size is None or size[0] * size[1] > READ_WHOLE:
        kinds: list[Callable[..., Windows]] = [_TiffWindows] if Path(source).suffix.lower() in TIFF_SUFFIXES else []
        for kind in (*kinds, _RasterWindows):
            try:
                return kind(str(source), name, remarks)
            except (DataError, ImportError) as error:
                reasons.append(str(error).removeprefix(f'{name}: '))
        if size is None or size[0] * size[1] > limits.max_megapixels * MEGA:
            what = 'not an image that can be read' if size is None else f'{size[0]} x {size[1]} pixels'
            raise DataError(
                f'{name}: {what}; more than {limits.max_megapixels:g} megapixels (--max-megapixels, '
                f'Limits.max_megapixels) are read by windows only: {"; ".join(reasons)}. What can be read is TIFF in '
                f'tiles or strips: {MAKE_TILES}'
            )
    return WholeImage(read_source(source, name, loader, limits))


def _size_in_header(path: str | Path, name: str) -> tuple[int, int] | None:
    """Width and height; None of a file that Pillow does not know."""
    try:
        return stored_size(path, name)
    except DataError as error:
        if isinstance(error.__cause__, UnidentifiedImageError):
            return None
        raise


class _TiffWindows:
    """The first page of a TIFF file, a few strips or tiles at a time."""

    def __init__(self, path: str, name: str, remarks: RemarkCounts) -> None:
        tifffile = _import('tifffile')
        self._path, self._name, self._depth = path, name, _Depth(name, remarks)
        try:
            self._file = tifffile.TiffFile(path)
            self._page = page = self._file.pages.first
        except (tifffile.TiffFileError, OSError, IndexError) as error:
            raise DataError(f'{name}: not a TIFF file that can be read ({error})') from error
        self._planes, depth, *size, self._samples = page.shaped
        self.size = tuple(size)
        self._check(depth)
        block = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip or size[0], size[1])
        self._block = min(block[0], size[0]) if not page.is_tiled else block[0], block[1]
        self._per_plane = math.prod(math.ceil(length / part) for length, part in zip(size, self._block, strict=True))
        self._cache: OrderedDict[int, np.ndarray] = OrderedDict()
        self._cached = 0
        if not self._is_plain and math.prod(self._block) * self._samples * page.dtype.itemsize > CACHE_BYTES:
            raise DataError(
                f'{name}: a strip or tile of this TIFF has {self._block[1]} x {self._block[0]} pixels, too many to be '
                'decoded at once'
            )
        self.read(Region(0, 0, 1, 1))  # now, whether it can be decoded

    @property
    def _is_plain(self) -> bool:
        """Whether the samples are in the file as in memory."""
        return self._page.is_contiguous and self._planes == 1

    def _check(self, depth: int) -> None:
        page, name = self._page, self._name
        tag = page.tags.get(ORIENTATION)
        if tag is not None and tag.value not in (0, 1):
            raise DataError(f'{name}: this TIFF is to be turned (orientation {int(tag.value)}); save it upright')
        is_jpeg = page.photometric == YCBCR and page.compression in JPEG
        if not (page.photometric in GREY_OR_RGB or is_jpeg) or depth != 1:
            raise DataError(f'{name}: expected a TIFF of grey or RGB values, got {page.photometric!r}; convert it')
        if str(page.dtype) not in ('uint8', 'uint16'):
            raise DataError(
                f'{name}: expected a TIFF of 8 or 16 bits, got {page.dtype}; stretch the values to 0 to 255'
            )

    def read(self, region: Region) -> np.ndarray:
        """A part of the page."""
        if self._is_plain:
            page = self._page
            # Opened anew each time, so that what was read does not stay in memory.
            samples = np.memmap(
                self._path, page.dtype.newbyteorder(self._file.byteorder), 'r', page.dataoffsets[0], page.shaped[2:]
            )
            return self._depth.to_bgr(samples[region.slices])
        bands = min(3 if self._planes >= 3 else 1, self._planes)
        return self._depth.to_bgr(np.concatenate([self._plane(band, region) for band in range(bands)], -1))

    def _plane(self, plane: int, region: Region) -> np.ndarray:
        rows, columns = self._block
        across = math.ceil(self.size[1] / columns)
        part = np.zeros((*region.shape, self._samples), self._page.dtype)
        for row in range(region.top // rows, math.ceil(region.bottom / rows)):
            for column in range(region.left // columns, math.ceil(region.right / columns)):
                samples = self._segment(plane * self._per_plane + row * across + column)
                if samples is not None:
                    top, left = row * rows, column * columns
                    here = Region(top, left, top + samples.shape[0], left + samples.shape[1])
                    shared = here.shared_with(region)
                    if shared:
                        part[shared.within(region)] = samples[shared.within(here)]
        return part

    def _segment(self, index: int) -> np.ndarray | None:
        """A decoded strip or tile (h, w, samples); None of one that is left out of the file."""
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        page = self._page
        offset, count = page.dataoffsets[index], page.databytecounts[index]
        if not count:
            return None
        try:
            decode, tables = page.decode, page.jpegtables  # may read in the file
            self._file.filehandle.seek(offset)
            samples = decode(self._file.filehandle.read(count), index, jpegtables=tables)[0][0]
        except ImportError as error:
            raise DataError(f'{self._name}: {error}; {EXTRA}') from error
        except Exception as error:  # every codec has its own
            raise DataError(
                f'{self._name}: a part of this TIFF ({page.compression!r}) cannot be decoded ({error}); if a codec is '
                f'missing: {EXTRA}'
            ) from error
        self._cache[index] = samples
        self._cached += samples.nbytes
        while self._cached > CACHE_BYTES and len(self._cache) > 1:
            self._cached -= self._cache.popitem(last=False)[1].nbytes
        return samples


class _RasterWindows:
    """The first bands of what rasterio (GDAL) reads."""

    def __init__(self, path: str, name: str, remarks: RemarkCounts) -> None:
        rasterio = _import('rasterio')
        self._name, self._depth, self._errors = name, _Depth(name, remarks), (OSError, rasterio.errors.RasterioError)
        try:
            self._dataset = data = rasterio.open(path)
        except self._errors as error:
            raise DataError(f'{name}: rasterio cannot read it ({error})') from error
        self.size, self._bands = (data.height, data.width), [1, 2, 3] if data.count >= 3 else [1]
        if set(data.dtypes[: len(self._bands)]) - {'uint8', 'uint16'}:
            raise DataError(f'{name}: expected 8 or 16 bits, got {data.dtypes[0]}; stretch the values to 0 to 255')
        if data.colorinterp[0].name == 'palette':
            raise DataError(f'{name}: an image with a palette; convert it: gdal_translate -expand rgb IN OUT.tif')

    def read(self, region: Region) -> np.ndarray:
        """A part of the image."""
        window = ((region.top, region.bottom), (region.left, region.right))
        try:
            samples = self._dataset.read(self._bands, window=window)
        except self._errors as error:
            raise DataError(f'{self._name}: the image is damaged ({error})') from error
        return self._depth.to_bgr(samples.transpose(1, 2, 0))


class _Depth:
    """Makes three channels of 8 bits, as OpenCV does; remarks on 16 bits of which only the lowest are used."""

    def __init__(self, name: str, remarks: RemarkCounts) -> None:
        self._name, self._remarks, self._told = name, remarks, False

    def to_bgr(self, samples: np.ndarray) -> np.ndarray:
        """(h, w, 3) uint8 from (h, w, samples)."""
        if samples.dtype.itemsize == 2:
            if not self._told and samples.size > 3 and 0 < (largest := int(samples.max())) < DARK_BELOW:
                self._told = True
                self._remarks.add(self._name, Remark(DARK_KIND, f'largest value {largest} in a part of it'))
            samples = (samples >> 8).astype(np.uint8)
        if samples.shape[-1] < 3:
            return cv2.cvtColor(np.ascontiguousarray(samples[..., 0]), cv2.COLOR_GRAY2BGR)
        return np.ascontiguousarray(samples[..., 2::-1])


def _import(package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        hint = EXTRA if package == 'tifffile' else f'pip install {package}'
        raise ImportError(f'{package} is not installed ({hint})') from error
