"""What reading an image loses."""

import io

import cv2
import mmcv
import numpy as np
import pytest
from PIL import Image

from mmmaskdino.datasets.files import DataError
from mmmaskdino.datasets.image_loading import LoadCheckedImage
from mmmaskdino.datasets.image_reading import RemarkCounts, find_losses

GREY = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))
RGB = np.dstack([GREY, GREY[:, ::-1], np.full_like(GREY, 128)])
RGBA = np.dstack([RGB, GREY])


def encode(array: np.ndarray, kind: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, **options)
    return file.getvalue()


def encode_cv(array: np.ndarray, suffix: str) -> bytes:
    return cv2.imencode(suffix, array)[1].tobytes()


TWELVE = GREY.astype(np.uint16) * 16
SECOND = [Image.fromarray(RGB[:, ::-1])]
LOSSES = {
    'grey PNG of 12 bits': (encode(TWELVE, 'PNG'), 'nearly black'),
    'grey TIFF of 12 bits': (encode(TWELVE, 'TIFF'), 'nearly black'),
    'colour PNG of 12 bits': (encode_cv(RGB.astype(np.uint16) * 16, '.png'), 'nearly black'),
    'colour TIFF of 12 bits': (encode_cv(RGB.astype(np.uint16) * 16, '.tif'), 'nearly black'),
    'four bands': (encode(RGBA, 'TIFF'), 'last band is taken for opacity'),
    'transparent PNG': (encode(RGBA, 'PNG'), 'transparent pixels'),
    'pages': (encode(RGB, 'TIFF', save_all=True, append_images=SECOND), 'several pages'),
    'animation': (encode(RGB, 'PNG', save_all=True, append_images=SECOND), 'several pages'),
}
SOUND = {
    'PNG': encode(RGB, 'PNG'),
    'JPEG': encode(RGB, 'JPEG'),
    'TIFF': encode(RGB, 'TIFF'),
    '16 bits': encode(GREY.astype(np.uint16) * 257, 'PNG'),
    'opaque': encode(np.dstack([RGB, np.full_like(GREY, 255)]), 'PNG'),
    '1 bit': encode(GREY > 100, 'PNG'),
    'no image': b'text',
}


@pytest.mark.parametrize('name', LOSSES)
def test_losses_are_found(name: str) -> None:
    content, kind = LOSSES[name]
    (loss,) = find_losses(content)
    assert kind in loss.kind
    if 'black' in kind:
        assert loss.detail == 'largest value 4032'
        assert mmcv.imfrombytes(content, flag='color').max() <= 16, 'what is said is true'


@pytest.mark.parametrize('name', SOUND)
def test_nothing_is_said_of_others(name: str) -> None:
    assert find_losses(SOUND[name]) == []


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (encode((GREY / 255).astype(np.float32), 'TIFF'), r'samples of 32 bits \(float32\)'),
        (encode_cv((RGB / 255).astype(np.float32), '.tif'), r'samples of 32 bits \(float32\)'),
        (encode(GREY.astype(np.int32), 'TIFF'), r'samples of 32 bits \(int32\)'),
        (b'text', 'not an image that can be read'),
    ],
)
def test_what_is_rejected_says_why(tmp_path, content: bytes, reason: str) -> None:
    (tmp_path / 'a.tif').write_bytes(content)
    with pytest.raises(DataError, match=f'a.tif: .*{reason}'):
        LoadCheckedImage().transform({'img_path': str(tmp_path / 'a.tif')})


def test_each_kind_is_logged_once_or_counted(tmp_path, monkeypatch) -> None:
    logged = []
    monkeypatch.setattr('mmmaskdino.datasets.image_reading.print_log', lambda message, *_: logged.append(message))
    loader, counting = LoadCheckedImage(), LoadCheckedImage()
    counting.remarks = RemarkCounts()
    for number in range(7):
        path = tmp_path / f'{number}.png'
        path.write_bytes(LOSSES['grey PNG of 12 bits'][0])
        for load in (loader, counting):
            load.transform({'img_path': str(path)})
    assert len(logged) == 1 and logged[0].startswith(f'{tmp_path}/0.png (largest value 4032): images of 16 bits')
    (line,) = counting.remarks.lines()
    assert f': 7 ({tmp_path}/0.png (largest value 4032), ' in line and line.endswith('4.png (largest value 4032), ...)')
