"""Results in the forms that people use."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import encode_mask_results
from mmengine.structures import InstanceData, PixelData
from PIL import Image
from pycocotools import mask as coco_mask

from mmmaskdino.apis.inference.prediction import Prediction

META = dict(classes=('dog', 'cat', 'gr\x1bass', 'sky'))


@pytest.fixture
def prediction() -> Prediction:
    """Of an image of 8 x 12 pixels that was reduced to its half: two dogs and a cat, above them sky."""
    masks = torch.zeros(3, 4, 6, dtype=torch.bool)
    masks[0, 2:, :2] = masks[1, 2:, 2:4] = masks[2, 3:, 4:] = True
    boxes = torch.tensor([[0, 2, 2, 4], [2, 2, 4, 4], [4, 3, 6, 4]]).float()
    instances = InstanceData(
        labels=torch.tensor([0, 0, 1]), scores=torch.tensor([0.9, 0.8, 0.5]), bboxes=boxes, masks=masks
    )
    segments = torch.full((1, 4, 6), 4)  # nothing
    segments[0, :2] = 3
    segments[0][masks[0]], segments[0][masks[1]], segments[0][masks[2]] = 1000, 2000, 3001
    sample = DetDataSample(
        pred_instances=instances,
        pred_panoptic_seg=PixelData(sem_seg=segments),
        pred_sem_seg=PixelData(sem_seg=torch.where(segments == 4, 2, segments % 1000)),
    )
    return Prediction('a\x1b.jpg', np.zeros((4, 6, 3), np.uint8), sample, (8, 12), META, num_things=2)


def test_what_is_printed_is_short(prediction) -> None:
    assert repr(prediction) == r'<Prediction a\x1b.jpg, 12 x 8: 2 dog, 1 cat, sky>'
    assert prediction.summary('instances') == '2 dog, 1 cat'
    assert prediction.summary('semantic') == r'sky, dog, cat, gr\x1bass'
    assert prediction.names == META['classes'] and prediction.kinds == ('panoptic', 'instances', 'semantic')
    with pytest.raises(ValueError, match='no banana'):
        prediction.summary('banana')


def test_nothing_found_is_said(prediction) -> None:
    prediction.sample.pred_instances = prediction.sample.pred_instances[:0]
    prediction.sample.pred_panoptic_seg.sem_seg.fill_(4)
    assert prediction.summary() == prediction.summary('instances') == '0 objects' and prediction.is_empty
    assert json.loads(prediction.to_json())['instances'] == []
    assert prediction.segments().labels == [] and not prediction.segments().ids.any()
    assert prediction.to_pandas().empty and len(prediction.to_pandas().columns) == 8
    assert prediction.draw().shape == (4, 6, 3)


def test_json_has_the_size_of_the_original(prediction) -> None:
    content = json.loads(prediction.to_json())
    assert (content['width'], content['height'], content['name']) == (12, 8, prediction.name)
    first = content['instances'][0]
    assert (first['class'], first['label'], first['box'], first['area']) == ('dog', 0, [0, 4, 4, 8], 16)
    mask = coco_mask.decode(first['segmentation'])
    assert mask.shape == (8, 12) and mask[4:, :4].all() and mask.sum() == 16
    assert content['segments'] == [
        {'class': 'sky', 'label': 3, 'area': 48},
        {'class': 'dog', 'label': 0, 'area': 16},
        {'class': 'dog', 'label': 0, 'area': 16},
        {'class': 'cat', 'label': 1, 'area': 8},
    ]
    assert {row['label']: row['area'] for row in content['semantic']} == {0: 32, 1: 8, 2: 8, 3: 48}
    assert 'segmentation' not in json.loads(prediction.to_json(masks=False))['instances'][0]


def test_pandas(prediction) -> None:
    table = prediction.to_pandas()
    assert table['class'].tolist() == ['dog', 'dog', 'cat']
    assert table.loc[1, ['x1', 'y1', 'x2', 'y2']].tolist() == [4, 4, 8, 8]
    assert prediction.to_pandas('panoptic')['area'].tolist() == [48, 16, 16, 8]


def test_supervision(prediction, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for the package, which takes what `supervision.Detections` takes."""
    monkeypatch.setitem(sys.modules, 'supervision', SimpleNamespace(Detections=SimpleNamespace))
    found = prediction.to_supervision()
    assert found.xyxy.shape == (3, 4) and found.xyxy.dtype == np.float32
    assert found.mask.shape == (3, 8, 12) and found.mask.dtype == bool and found.mask[0].sum() == 16
    assert found.class_id.tolist() == [0, 0, 1] and found.data['class_name'].tolist() == ['dog', 'dog', 'cat']
    assert found.confidence.tolist() == pytest.approx([0.9, 0.8, 0.5])
    prediction.sample.pred_instances = prediction.sample.pred_instances[:0]
    assert prediction.to_supervision().mask.shape == (0, 8, 12)
    del prediction.sample.pred_instances
    with pytest.raises(ValueError, match='the results are panoptic and semantic, no instances'):
        prediction.to_supervision()


def test_masks_as_run_lengths(prediction, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of `test_cfg.rle_masks`: the same in every form."""
    monkeypatch.setitem(sys.modules, 'supervision', SimpleNamespace(Detections=SimpleNamespace))
    text, picture, small = prediction.to_json(), prediction.draw('instances'), prediction.draw('instances', max_side=3)
    masks = prediction.to_supervision().mask
    prediction.sample.pred_instances.masks = encode_mask_results(prediction.sample.pred_instances.masks.numpy())
    assert prediction.to_json() == text
    assert np.array_equal(prediction.draw('instances'), picture)
    assert np.array_equal(prediction.draw('instances', max_side=3), small)
    assert np.array_equal(prediction.to_supervision().mask, masks)


@pytest.mark.parametrize('package', ['pandas', 'supervision'])
def test_a_missing_package_is_named_with_its_extra(prediction, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf'{package} is not installed: pip install "mmmaskdino\[{package}\]"'):
        getattr(prediction, f'to_{package}')()


def test_saved_files(prediction, tmp_path: Path) -> None:
    for name in ('a.jpg', 'deep/b.png', 'c.webp'):
        path = prediction.save(tmp_path / name)
        assert Image.open(path).size == (6, 4)
    assert json.loads(prediction.save(tmp_path / 'd.json').read_text()) == json.loads(prediction.to_json())
    with pytest.raises(ValueError, match='unknown file extension'):
        prediction.save(tmp_path / 'e.xyz')


def test_a_notebook_shows_the_picture(prediction, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Image.open(io.BytesIO(prediction._repr_png_()))
    assert np.array_equal(np.asarray(picture), prediction.draw())
    shown = []
    monkeypatch.setattr(Image.Image, 'show', lambda image, title=None: shown.append((image.size, title)))
    prediction.show('instances')
    assert shown == [((6, 4), prediction.name)]
