"""Reading images of unknown origin."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmmaskdino.apis.inference.reading import Limits, read_image, reduce_image
from mmmaskdino.datasets.files import DataError
from mmmaskdino.datasets.image_loading import LoadCheckedImage

LOADER = LoadCheckedImage(max_pixels=10**9)


def write_bomb(path: Path, width: int, height: int) -> None:
    """A PNG whose header promises far more pixels than its few bytes hold."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', data) + chunk(b'IEND', b''))


@pytest.mark.parametrize('side', [10_000, 60_000])
def test_decompression_bomb_is_rejected_by_its_header(tmp_path: Path, side: int) -> None:
    write_bomb(tmp_path / 'bomb.png', side, side)
    with pytest.raises(DataError, match=rf'bomb.png: .*{side} x {side} pixels, .*limit is 64; .*--max-megapixels'):
        read_image(tmp_path / 'bomb.png', LOADER, Limits())


def test_the_limit_can_be_raised(tmp_path: Path) -> None:
    """Beyond Pillow's own limit too, which has no error of its own here."""
    Image.new('1', (20_000, 9_000)).save(tmp_path / 'large.png')
    with pytest.raises(DataError, match='180.0 megapixels'):
        read_image(tmp_path / 'large.png', LOADER, Limits())
    limit = Image.MAX_IMAGE_PIXELS
    image = read_image(tmp_path / 'large.png', LOADER, Limits(max_megapixels=180))
    assert image.shape == (9_000, 20_000, 3)
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(
    ('content', 'reason'),
    [(b'', 'empty'), (b'hello', 'not an image'), (b'\x89PNG\r\n\x1a\nbroken', 'not an image|cannot be read')],
)
def test_other_files_are_rejected_by_name(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / 'a.png').write_bytes(content)
    with pytest.raises(DataError, match=f'a.png: .*({reason})'):
        read_image(tmp_path / 'a.png', LOADER, Limits())


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / 'no.png', tmp_path):
        with pytest.raises(DataError, match=path.name):
            read_image(path, LOADER, Limits())


def test_more_bytes_than_an_image_can_have(tmp_path: Path) -> None:
    Image.new('RGB', (8, 8)).save(tmp_path / 'a.png')
    with (tmp_path / 'a.png').open('ab') as file:
        file.truncate(2_000_000)
    with pytest.raises(DataError, match='2000000 bytes are far too many for an image of 8 x 8'):
        read_image(tmp_path / 'a.png', LOADER, Limits())


def test_reduction() -> None:
    image = np.zeros((300, 400, 3), np.uint8)
    assert reduce_image(image, 120_000) is image
    assert reduce_image(image, 30_000).shape == (150, 200, 3)
    assert reduce_image(np.zeros((1, 400, 3), np.uint8), 100).shape == (1, 200, 3)


@pytest.mark.parametrize('field', Limits._fields)
def test_limits_are_positive(field: str) -> None:
    with pytest.raises(ValueError, match=f'{field} must be above 0'):
        Limits(**{field: 0}).check()
