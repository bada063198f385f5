"""The sizes of an image on its way through the model."""

import re

import pytest
import torch

from mmmaskdino.models.seg_heads.image_queries import ImageFrames, boxes_px

METAINFO = dict(img_path='a/b.jpg', batch_input_shape=(64, 96), img_shape=(61, 83, 3), ori_shape=(30, 40))


@pytest.mark.parametrize(('rescale', 'output'), [(True, (30, 40)), (False, (61, 83))])
def test_frames_of_the_metainfo(rescale, output):
    assert ImageFrames.from_metainfo(METAINFO, rescale) == ((64, 96), (61, 83), output)


@pytest.mark.parametrize('named', [True, False])
def test_incomplete_metainfo_is_rejected(named):
    metainfo = {key: value for key, value in METAINFO.items() if named or key != 'img_path'}
    del metainfo['batch_input_shape']
    message = (
        f"metainfo of {'a/b.jpg' if named else 'an image'} lacks ['batch_input_shape']: add them to meta_keys of "
        'PackDetInputs (batch_input_shape is set by the data preprocessor)'
    )
    with pytest.raises(ValueError, match=f'^{re.escape(message)}$'):
        ImageFrames.from_metainfo(metainfo, rescale=True)


@pytest.mark.parametrize('size', [(65, 96), (64, 97)])
def test_an_image_larger_than_its_canvas_is_rejected(size):
    message = f'a/b.jpg: img_shape {size} is larger than batch_input_shape (64, 96)'
    with pytest.raises(ValueError, match=re.escape(message)):
        ImageFrames.from_metainfo(dict(METAINFO, img_shape=size), rescale=True)


def test_boxes_are_pixels_of_the_output():
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.25]])
    found = boxes_px(boxes, ImageFrames((64, 96), (64, 48), (128, 48)))
    torch.testing.assert_close(found, torch.tensor([[24.0, 48.0, 72.0, 80.0]]))
