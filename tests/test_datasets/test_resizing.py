import numpy as np
import pytest
from mmcv.transforms import RandomResize
from mmengine.registry import TRANSFORMS, DefaultScope
from PIL import Image

from mmmaskdino.datasets import AntialiasedResize, LargeScaleJitter
from mmmaskdino.datasets.resizing import resize_image


@pytest.fixture(scope='module')
def image():
    """Stripes and noise: what reducing without smoothing turns into other patterns."""
    image = np.random.default_rng(0).integers(256, size=(97, 131, 3), dtype=np.uint8)
    image[::2, 40:] = 255
    return image


@pytest.mark.parametrize('size', [(10, 13), (48, 66), (97, 131), (96, 150), (140, 90), (211, 303)])
def test_images_are_pillows_to_one_grey_value(image, size):
    expected = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)).astype(int)
    resized = resize_image(image, size)
    assert resized.dtype == np.uint8 and resized.flags.c_contiguous
    assert np.abs(resized - expected).max() <= 1
    assert np.abs(resize_image(image[..., 0], size) - expected[..., 0]).max() <= 1
    assert np.abs(resize_image(image.astype(np.float32), size) - expected).max() <= 1


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_images_and_label_maps_in_both_scopes(image, scope):
    labels = np.arange(97 * 131, dtype=np.int32).reshape(97, 131)
    for name, rows in (('center', [16, 48, 80]), ('corner', [0, 32, 64])):
        config = dict(type='AntialiasedResize', scale=(5, 3), labels=name)
        with DefaultScope.overwrite_default_scope(scope):
            resize = TRANSFORMS.build(config)
        results = resize(dict(img=image, gt_seg_map=labels))
        assert results['img_shape'] == results['img'].shape[:2] == results['gt_seg_map'].shape == (3, 5)
        assert results['scale_factor'] == (5 / 131, 3 / 97)
        assert (results['gt_seg_map'][:, 0] // 131).tolist() == rows
        assert repr(resize).endswith(f"labels='{name}')")


def test_sizes_that_keep_the_ratio(image):
    resize = AntialiasedResize(scale=(60, 50), keep_ratio=True)
    assert resize(dict(img=image))['img'].shape == (44, 60, 3)
    assert AntialiasedResize(scale_factor=0.5)(dict(img=image))['img'].shape == (49, 66, 3)
    with pytest.raises(ValueError, match="'center' or 'corner', got 'middle'"):
        AntialiasedResize(scale=(5, 3), labels='middle')


def test_jitter_draws_real_numbers():
    arguments = dict(scale=(100, 100), ratio_range=(0.1, 2.0), keep_ratio=True, resize_type='AntialiasedResize')
    sizes = {}
    for kind in (LargeScaleJitter, RandomResize):
        np.random.seed(0)
        jitter = kind(**arguments)
        sizes[kind] = np.array([jitter._random_scale()[0] for _ in range(1000)])
    drawn, cut = sizes.values()
    np.testing.assert_array_equal(np.floor(drawn), cut)
    assert 10 <= drawn.min() < 12 and 198 < drawn.max() <= 200
    assert 0.45 < (drawn - cut).mean() < 0.55
