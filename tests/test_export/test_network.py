"""The exported module gives what the model gives."""

import pytest
import torch
from mmdet.structures import DetDataSample
from mmseg.structures import SegDataSample

CANVAS = (96, 128)
IMAGE = (81, 115)


@pytest.fixture
def image():
    padded = torch.zeros(1, 3, *CANVAS)
    padded[..., : IMAGE[0], : IMAGE[1]] = torch.randn(3, *IMAGE)
    return padded


def outputs(network, image):
    return dict(zip(network.output_names, network(image, torch.tensor(IMAGE)), strict=True))


def predict(model, image):
    meta = dict(img_shape=IMAGE, ori_shape=IMAGE, batch_input_shape=CANVAS)
    return model.predict(image, [DetDataSample(metainfo=meta)], rescale=False)[0]


def cropped(maps):
    return maps[..., : IMAGE[0], : IMAGE[1]]


@pytest.mark.parametrize('kind', ['instance', 'detection'])
@pytest.mark.parametrize('num', [10, 6, 0])
def test_instances(make_network, image, kind, num):
    _, network = make_network(kind)
    scores = predict(network.model, image).pred_instances.scores
    assert len(scores) == 10
    if num < 10:
        score_thr = float(scores[num - 1 : num + 1].mean()) if num else 1.0
        _, network = make_network(kind, changes={'model.test_cfg.score_thr': score_thr})
    found, expected = outputs(network, image), predict(network.model, image).pred_instances
    assert len(expected) == num
    assert set(found) == {'scores', 'labels', 'boxes'} | ({'masks'} if kind == 'instance' else set())
    assert torch.allclose(found['scores'], expected.scores, atol=1e-5)
    assert torch.equal(found['labels'], expected.labels)
    assert torch.allclose(found['boxes'], expected.bboxes, atol=1e-3)
    if kind == 'instance':
        assert torch.equal(cropped(found['masks']), expected.masks)
        assert found['masks'].sum() == expected.masks.sum()  # nothing in the padding
        assert expected.masks.any() == (num > 0)


@pytest.mark.parametrize('object_mask_thr', [0.25, 0.6, 1.0])
def test_panoptic_and_semantic(make_network, image, object_mask_thr):
    changes = {'model.test_cfg.object_mask_thr': object_mask_thr, 'model.test_cfg.overlap_thr': 0.3}
    _, network = make_network('panoptic', changes=changes)
    found, expected = outputs(network, image), predict(network.model, image)
    panoptic = expected.pred_panoptic_seg.sem_seg[0]
    assert len(panoptic.unique()) > 1 or object_mask_thr == 1.0
    assert torch.equal(cropped(found['panoptic']), panoptic)
    assert (found['panoptic'][IMAGE[0] :] == 10).all()
    assert torch.equal(cropped(found['semantic']), expected.pred_sem_seg.sem_seg[0].int())
    assert len(found['scores']) == 10


def test_semantic_of_mmseg(make_network, image):
    _, network = make_network('semantic')
    sample = SegDataSample(
        metainfo=dict(ori_shape=IMAGE, padding_size=(0, CANVAS[1] - IMAGE[1], 0, CANVAS[0] - IMAGE[0]))
    )
    expected = network.model.predict(image, [sample])[0].pred_sem_seg.data[0]
    (found,) = outputs(network, image).values()
    assert len(expected.unique()) > 1
    assert torch.equal(cropped(found), expected.int())


@pytest.mark.parametrize('kind', ['detection', 'panoptic', 'semantic'])
def test_raw(make_network, image, kind):
    _, network = make_network(kind, with_results=False)
    found = outputs(network, image)
    head = network.head
    assert found['class_logits'].shape == (1, 20, head.num_classes + (not head.use_sigmoid))
    assert found['boxes'].shape == (1, 20, 4) and (found['boxes'] >= 0).all() and (found['boxes'] <= 1).all()
    assert ('mask_logits' in found) == (kind != 'detection')
    if kind != 'detection':
        assert found['mask_logits'].shape == (1, 20, CANVAS[0] // 4, CANVAS[1] // 4)


def test_size_of_the_image_matters(make_network, image):
    _, network = make_network('panoptic', with_results=False)
    logits, whole = (network(image, torch.tensor(size))[0] for size in (IMAGE, CANVAS))
    assert not torch.allclose(logits, whole, atol=1e-3)


def test_sliding_windows_are_rejected(make_network):
    changes = {'model.test_cfg': dict(mode='slide', crop_size=(64, 64), stride=(32, 32))}
    with pytest.raises(ValueError, match='sliding windows'):
        make_network('semantic', changes=changes)
    make_network('semantic', with_results=False, changes=changes)
