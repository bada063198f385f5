"""Parts of images that are not read whole."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from mmmaskdino.apis import Limits
from mmmaskdino.apis.inference import window_reading
from mmmaskdino.apis.inference.window_reading import Windows, open_windows
from mmmaskdino.datasets.files import DataError
from mmmaskdino.datasets.image_loading import LoadCheckedImage
from mmmaskdino.datasets.image_reading import RemarkCounts
from mmmaskdino.tile_grid import Region

REGIONS = [Region(0, 0, 150, 210), Region(0, 0, 1, 1), Region(31, 17, 100, 65), Region(100, 200, 150, 210)]


@pytest.fixture
def pixels() -> np.ndarray:
    """(150, 210, 3) uint8, RGB."""
    return np.random.default_rng(0).integers(255, size=(150, 210, 3), dtype=np.uint8)


@pytest.fixture
def open_part(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Windows]:
    """Opens a file that counts as too large to be read whole."""
    monkeypatch.setattr(window_reading, 'READ_WHOLE', 0)

    def _open(path: Path, remarks: RemarkCounts | None = None, max_megapixels: float = 0.01) -> Windows:
        limits = Limits(max_megapixels=max_megapixels)
        return open_windows(path, str(path), LoadCheckedImage(), limits, remarks or RemarkCounts())

    return _open


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(bigtiff=True, byteorder='>'),
        dict(rowsperstrip=16),
        dict(rowsperstrip=16, compression='zlib', predictor=True),
        dict(tile=(32, 48)),
        dict(tile=(64, 64), compression='zlib', planarconfig='separate'),
        dict(planarconfig='separate'),
    ],
    ids=str,
)
@pytest.mark.parametrize('kind', ['rgb', 'grey', 'rgba', '16 bits'])
def test_tiff_files(open_part, pixels: np.ndarray, tmp_path: Path, kind: str, options: dict) -> None:
    path, image = tmp_path / 'a.tif', pixels
    options = dict(options, photometric='rgb')
    if kind == 'rgba':
        image = np.concatenate([pixels, pixels[..., :1]], -1)
        options['extrasamples'] = ['unassalpha']
    elif kind == '16 bits':
        image = pixels.astype(np.uint16) * 256 + 99
    elif kind == 'grey':
        image, pixels = pixels[..., 1], pixels[..., [1, 1, 1]]
        options = {key: value for key, value in options.items() if key != 'planarconfig'} | dict(
            photometric='minisblack'
        )
    if options.get('planarconfig') == 'separate':
        image = np.moveaxis(image, -1, 0)
    tifffile.imwrite(path, image, **options)
    windows = open_part(path)
    assert windows.size == (150, 210)
    for region in REGIONS:
        part = windows.read(region)
        assert part.dtype == np.uint8 and np.array_equal(part, pixels[region.slices][..., ::-1])


def test_only_what_is_needed_stays_in_memory(
    open_part, pixels: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_reading, 'CACHE_BYTES', 20_000)
    tifffile.imwrite(tmp_path / 'a.tif', pixels, photometric='rgb', tile=(48, 48), compression='zlib')
    windows = open_part(tmp_path / 'a.tif')
    assert np.array_equal(windows.read(REGIONS[0]), pixels[..., ::-1])
    assert sum(part.nbytes for part in windows._cache.values()) <= 20_000 and len(windows._cache) == 2
    tifffile.imwrite(tmp_path / 'b.tif', pixels, photometric='rgb', rowsperstrip=150, compression='zlib')
    with pytest.raises(DataError, match='has 210 x 150 pixels, too many to be decoded at once'):
        open_part(tmp_path / 'b.tif')


def test_small_images_and_other_sources_are_read_whole(pixels: np.ndarray, tmp_path: Path) -> None:
    """As always, with all the checks of that."""
    Image.fromarray(pixels).save(tmp_path / 'a.png')
    for source in (tmp_path / 'a.png', np.ascontiguousarray(pixels[..., ::-1]), Image.fromarray(pixels)):
        windows = open_windows(source, 'a', LoadCheckedImage(), Limits(), RemarkCounts())
        assert all(np.array_equal(windows.read(region), pixels[region.slices][..., ::-1]) for region in REGIONS)


def test_what_cannot_be_read_by_windows(open_part, pixels: np.ndarray, tmp_path: Path) -> None:
    """It is read whole up to the limit; above it the message says what can be done."""
    Image.fromarray(pixels).save(tmp_path / 'a.png')
    assert np.array_equal(
        open_part(tmp_path / 'a.png', max_megapixels=1).read(REGIONS[2])[..., ::-1], pixels[31:100, 17:65]
    )
    with pytest.raises(DataError, match=r'a.png: 210 x 150 pixels; more than 0.01 megapixels .*gdal_translate'):
        open_part(tmp_path / 'a.png')
    (tmp_path / 'b.tif').write_text('no image')
    with pytest.raises(DataError, match='b.tif: not an image that can be read.*not a TIFF file'):
        open_part(tmp_path / 'b.tif')
    with pytest.raises(DataError, match='no such file|cannot be read'):
        open_part(tmp_path / 'c.tif')


@pytest.mark.parametrize(
    ('options', 'dtype', 'message'),
    [
        (dict(photometric='rgb'), np.float32, '8 or 16 bits, got float32'),
        (dict(photometric='miniswhite'), np.uint8, 'grey or RGB'),
        (dict(photometric='ycbcr', compression='zlib'), np.uint8, 'grey or RGB.*YCBCR'),
        (dict(photometric='rgb', extratags=[(274, 3, 1, 6, True)]), np.uint8, 'orientation 6'),
    ],
)
def test_tiff_files_that_are_not_understood(open_part, pixels, tmp_path: Path, options, dtype, message: str) -> None:
    image = pixels[..., 0] if options['photometric'] == 'miniswhite' else pixels
    tifffile.imwrite(tmp_path / 'a.tif', image.astype(dtype), **options)
    with pytest.raises(DataError, match=message):
        open_part(tmp_path / 'a.tif')


def test_damaged_files(open_part, pixels: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / 'a.tif'
    tifffile.imwrite(path, pixels, photometric='rgb', tile=(64, 64), compression='zlib')
    with tifffile.TiffFile(path) as file:
        offset = file.pages.first.dataoffsets[-1]
    content = bytearray(path.read_bytes())
    content[offset : offset + 50] = bytes(50)
    path.write_bytes(content)
    windows = open_part(path)
    assert np.array_equal(windows.read(Region(0, 0, 64, 64)), pixels[:64, :64, ::-1])
    with pytest.raises(DataError, match='cannot be decoded'):
        windows.read(REGIONS[0])


def test_dark_values_are_told_once(open_part, pixels: np.ndarray, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / 'a.tif', pixels.astype(np.uint16) * 8, photometric='rgb', tile=(64, 64))
    remarks = RemarkCounts()
    windows = open_part(tmp_path / 'a.tif', remarks)
    windows.read(REGIONS[0])
    windows.read(REGIONS[2])
    (line,) = remarks.lines()
    assert 'nearly black' in line and ': 1 (' in line


def test_without_the_packages(open_part, pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / 'a.tif', pixels, photometric='rgb')

    def missing(name: str) -> None:
        raise ModuleNotFoundError(name, name=name)

    monkeypatch.setattr(importlib, 'import_module', missing)
    with pytest.raises(
        DataError, match=r'tifffile is not installed \(pip install "mmmaskdino\[scenes\]"\); rasterio is'
    ):
        open_part(tmp_path / 'a.tif')
