"""Reading images of unknown origin."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from PIL import Image, features

from mmmaskdino.apis.inference.reading import Limits, read_image, read_source, reduce_image
from mmmaskdino.apis.inference.sources import find_images
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


@pytest.mark.parametrize('side', [20_000, 60_000])
def test_decompression_bomb_is_rejected_by_its_header(tmp_path: Path, side: int) -> None:
    write_bomb(tmp_path / 'bomb.png', side, side)
    with pytest.raises(DataError, match=rf'bomb.png: .*{side} x {side} pixels, .*limit is 256; .*--max-megapixels'):
        read_image(tmp_path / 'bomb.png', LOADER, Limits())


def test_the_limit_can_be_raised(tmp_path: Path) -> None:
    """Beyond Pillow's own limit too, which has no error of its own here."""
    Image.new('1', (20_000, 9_000)).save(tmp_path / 'large.png')
    with pytest.raises(DataError, match='180.0 megapixels'):
        read_image(tmp_path / 'large.png', LOADER, Limits(max_megapixels=179))
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


PIXELS = np.random.default_rng(0).integers(255, size=(6, 9, 3), dtype=np.uint8)  # blue, green, red


def encoded(kind: str, pixels: np.ndarray = PIXELS, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels[..., ::-1]).save(file, kind, **options)
    return file.getvalue()


def read(source: object, **limits: float) -> np.ndarray:
    return read_source(source, 'image', LOADER, Limits(**limits))


def test_every_kind_of_object_gives_the_same_image(tmp_path: Path) -> None:
    (tmp_path / 'a.png').write_bytes(encoded('png'))
    rgb = np.ascontiguousarray(PIXELS[..., ::-1])
    chw = torch.from_numpy(rgb).permute(2, 0, 1)
    lazy = Image.open(tmp_path / 'a.png')
    sources = [PIXELS, str(tmp_path / 'a.png'), tmp_path / 'a.png', encoded('png'), Image.fromarray(rgb), lazy]
    sources += [chw, chw.float() / 255, (chw.double() / 255).requires_grad_()]
    for source in sources:
        assert np.array_equal(read(source), PIXELS), type(source)


def test_pil_images_of_other_modes() -> None:
    turned = Image.open(
        io.BytesIO(encoded('png', exif=b'Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0'))
    )
    assert np.array_equal(read(turned), np.rot90(PIXELS, -1))
    wide = Image.fromarray(np.full((4, 5), 0x8123, np.uint16))
    assert np.array_equal(read(wide), np.full((4, 5, 3), 0x81))
    assert read(Image.new('RGBA', (5, 4), (1, 2, 3, 9)))[0, 0].tolist() == [3, 2, 1]
    with pytest.raises(DataError, match='PIL image of the mode F; convert it'):
        read(Image.new('F', (5, 4)))
    with pytest.raises(DataError, match='limit is 1e-05'):
        read(Image.new('L', (5, 4)), max_megapixels=1e-5)


@pytest.mark.parametrize(
    ('source', 'error', 'message'),
    [
        (torch.zeros(2, 3, 4, 4), TypeError, 'is a batch; give a list of its images'),
        (torch.zeros(4, 4, 3), TypeError, r'must be \(3, height, width\), red-green-blue'),
        (torch.zeros(3, 4, 4, dtype=torch.int64), TypeError, 'uint8 or floats, got torch.int64'),
        (torch.full((3, 4, 4), 200.0), DataError, 'must lie in 0 to 1.* got 200 to 200'),
        (torch.full((3, 4, 4), float('nan')), DataError, 'must lie in 0 to 1'),
        (3, TypeError, 'expected a path, .*got int'),
        (None, TypeError, 'got NoneType'),
        ({'image': 1}, TypeError, 'got dict'),
    ],
)
def test_what_stands_for_no_image(source: object, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        read(source)


def test_a_format_that_only_pillow_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('mmcv.imfrombytes', lambda *args, **options: None)
    assert np.array_equal(read(encoded('bmp')), PIXELS)
    with pytest.raises(DataError, match='the image has samples of 8 bits'):
        read(encoded('png'))  # which OpenCV knows, and so it is damaged


@pytest.mark.skipif(not features.check('avif'), reason='this build of Pillow has no AVIF')
def test_avif(tmp_path: Path) -> None:
    smooth = np.full((16, 24, 3), (20, 90, 200), np.uint8)
    (tmp_path / 'a.avif').write_bytes(encoded('avif', smooth))
    assert [image.name for image in find_images(tmp_path).files] == ['a']
    assert np.abs(read(tmp_path / 'a.avif').astype(int) - smooth).max() < 12


def test_the_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pipe:
        def __init__(self, content: bytes) -> None:
            self.buffer = io.BytesIO(content)

    monkeypatch.setattr(sys, 'stdin', Pipe(encoded('png')))
    assert np.array_equal(read_image('-', LOADER, Limits()), PIXELS)
    with pytest.raises(DataError, match=r'stdin: the file is empty \(0 bytes\)'):
        read_image('-', LOADER, Limits())
    monkeypatch.setattr(sys, 'stdin', Pipe(b'hello'))
    with pytest.raises(DataError, match='stdin: not an image'):
        read_image('-', LOADER, Limits())
    monkeypatch.setattr(sys, 'stdin', Pipe(b'0' * 100))
    with pytest.raises(DataError, match='more than 40 bytes'):
        read_image('-', LOADER, Limits(max_megapixels=1e-5))


@pytest.fixture(scope='module')
def server() -> Iterator[str]:
    """An image, a page that says so with status 200, and a connection that ends too early."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802, the name is Python's
            if self.path == '/missing.png':
                self.send_error(404)
                return
            content, promised = encoded('png'), len(encoded('png')) + 9 * (self.path == '/short.png')
            self.send_response(200)
            self.send_header('Content-Type', 'text/html' if self.path == '/page' else 'image/png')
            self.send_header('Content-Length', str(promised))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    running = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    thread = Thread(target=running.serve_forever)
    thread.start()
    yield f'http://127.0.0.1:{running.server_port}'
    running.shutdown()
    thread.join()
    running.server_close()


def test_an_address(server: str) -> None:
    assert np.array_equal(read_image(f'{server}/a.png', LOADER, Limits()), PIXELS)
    for path, reason in (
        ('missing.png', r'cannot be fetched \(Not Found\)'),
        ('page', r'answers with a page \(text/html\)'),
        ('short.png', 'only [0-9]+ of [0-9]+ bytes have arrived'),
    ):
        with pytest.raises(DataError, match=f'{server}/{path}: .*{reason}'):
            read_image(f'{server}/{path}', LOADER, Limits())
    with pytest.raises(DataError, match='cannot be fetched .*refused'):
        read_image('http://127.0.0.1:9/a.png', LOADER, Limits())


def test_the_limit_of_pillow_comes_back_after_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are inside at the same time, and leave in the order of entering."""
    from mmmaskdino.apis.inference.reading import _no_limit_of_pillow

    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 7)
    first, second = _no_limit_of_pillow(), _no_limit_of_pillow()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert Image.MAX_IMAGE_PIXELS is None
    second.__exit__(None, None, None)
    assert Image.MAX_IMAGE_PIXELS == 7
