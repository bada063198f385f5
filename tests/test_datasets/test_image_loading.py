from pathlib import Path

import mmcv
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from PIL import Image

from mmmaskdino.datasets.files import DataError
from mmmaskdino.datasets.image_loading import LoadCheckedImage

# Files of `odd/images` that must be rejected, with a part of the message.
DAMAGED = {'truncated.jpg': 'damaged', 'zero_bytes.jpg': '0 bytes', 'text_named_jpg.jpg': 'not an image'}


def test_loads_what_mmcv_loads(tmp_path):
    path = tmp_path / 'noise.jpg'
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(path)
    expected = LoadImageFromFile().transform({'img_path': str(path)})
    loaded = LoadCheckedImage().transform({'img_path': str(path), 'height': 20, 'width': 30})
    np.testing.assert_array_equal(loaded['img'], expected['img'])
    assert loaded['img_shape'] == loaded['ori_shape'] == (20, 30)
    as_float = LoadCheckedImage(to_float32=True).transform({'img_path': str(path)})['img']
    assert as_float.dtype == np.float32
    np.testing.assert_array_equal(as_float, expected['img'])


def test_every_odd_image_is_loaded_whole_or_rejected(shared_data: Path):
    paths = sorted((shared_data / 'odd/images').iterdir())
    assert len(paths) >= 20
    for path in paths:
        results = {'img_path': str(path)}
        if path.name in DAMAGED:
            with pytest.raises(DataError, match=DAMAGED[path.name]) as caught:
                LoadCheckedImage().transform(results)
            assert str(path) in str(caught.value)
        else:
            image = LoadCheckedImage().transform(results)['img']
            assert image.dtype == np.uint8
            assert image.shape[2] == 3
            np.testing.assert_array_equal(image, mmcv.imread(str(path)))


@pytest.mark.parametrize('suffix', ['png', 'webp', 'tif', 'bmp', 'jpg'])
def test_truncated_files_are_rejected(tmp_path, suffix):
    path = tmp_path / f'cut.{suffix}'
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    LoadCheckedImage().transform({'img_path': str(path)})
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DataError, match=f'cut.{suffix}'):
        LoadCheckedImage().transform({'img_path': str(path)})


def test_trailing_bytes_are_no_damage(tmp_path):
    path = tmp_path / 'long.jpg'
    Image.new('RGB', (30, 20)).save(path)
    path.write_bytes(path.read_bytes() + b'\0' * 50)
    assert LoadCheckedImage().transform({'img_path': str(path)})['img_shape'] == (20, 30)


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match='missing.jpg'):
        LoadCheckedImage().transform({'img_path': str(tmp_path / 'missing.jpg')})


def test_other_size_than_annotated(tmp_path):
    path = tmp_path / 'a.jpg'
    Image.new('RGB', (30, 20)).save(path)
    with pytest.raises(DataError, match='a.jpg.*31 x 20 pixels.*has 30 x 20.*correct height and width'):
        LoadCheckedImage().transform({'img_path': str(path), 'height': 20, 'width': 31})


def test_turned_image_annotated_as_stored(tmp_path):
    path = tmp_path / 'turned.jpg'
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (30, 20)).save(path, exif=exif)
    assert LoadCheckedImage().transform({'img_path': str(path), 'height': 30, 'width': 20})['img_shape'] == (30, 20)
    as_stored = {'img_path': str(path), 'height': 20, 'width': 30}
    with pytest.raises(DataError, match='turned.jpg.*EXIF.*color_ignore_orientation'):
        LoadCheckedImage().transform(as_stored)
    loader = LoadCheckedImage(color_type='color_ignore_orientation')
    assert loader.transform(as_stored)['img_shape'] == (20, 30)


def test_skipping_unreadable_images_is_rejected():
    with pytest.raises(ValueError, match='ignore_empty'):
        LoadCheckedImage(ignore_empty=True)


def test_large_images_are_rejected_before_they_are_decoded(tmp_path, monkeypatch):
    path = tmp_path / 'large.png'
    Image.new('RGB', (40, 30)).save(path)
    monkeypatch.setattr(mmcv, 'imfrombytes', lambda *args, **kwargs: pytest.fail('decoded'))
    with pytest.raises(DataError, match=r'large.png: the image has 40 x 30 pixels, expected at most 1000 '):
        LoadCheckedImage(max_pixels=1000).transform({'img_path': str(path)})
