import pytest
import torch

from mmmaskdino.models.utils import masks_to_boxes, normalize_boxes, targets_from_samples

CPU = torch.device('cpu')


@pytest.fixture
def samples(make_batch, small_config):
    """Data samples as the model sees them, after the data preprocessor of a shipped config."""
    from mmdet.registry import MODELS

    def prepare(counts, sizes=None, num_stuff=0, config='maskdino_r50_coco_panoptic', **changes):
        preprocessor = MODELS.build(dict(small_config(config).model.data_preprocessor) | changes)
        return preprocessor(make_batch(counts, sizes, num_stuff=num_stuff), training=True)['data_samples']

    return prepare


def test_boxes_are_relative_to_the_padded_canvas(samples):
    batch = samples([3, 2], sizes=[(50, 60), (64, 90)])
    assert batch[0].batch_input_shape == (64, 96)
    for sample, target in zip(batch, targets_from_samples(batch, 5, 0, True, CPU), strict=True):
        assert target.masks.shape[1:] == (64, 96) and target.masks.dtype == torch.bool
        torch.testing.assert_close(target.boxes, normalize_boxes(masks_to_boxes(target.masks)[0], (64, 96)))
        assert torch.equal(target.labels, sample.gt_instances.labels)
        assert target.is_thing.all()


def test_stuff_is_one_object_per_class_present(samples):
    batch = samples([3, 2, 0], sizes=[(50, 60), (64, 90), (64, 96)], num_stuff=6)
    targets = targets_from_samples(batch, 5, 6, True, CPU)
    assert [len(t.labels) for t in targets] == [5, 4, 0]
    for sample, target in zip(batch, targets, strict=True):
        num_things = len(sample.gt_instances)
        assert target.is_thing.tolist() == [True] * num_things + [False] * (len(target.labels) - num_things)
        label_map = sample.gt_sem_seg.sem_seg[0]
        present = [v for v in label_map.unique().tolist() if 5 <= v < 11]
        assert target.labels[num_things:].tolist() == present
        for label, mask, box in zip(present, *(f[num_things:] for f in (target.masks, target.boxes)), strict=True):
            assert torch.equal(mask, label_map == label)
            torch.testing.assert_close(box, normalize_boxes(masks_to_boxes(mask)[0], (64, 96)))


def test_labels_of_things_in_the_semantic_map_are_left_out(samples):
    batch = samples([0], num_stuff=6)
    batch[0].gt_sem_seg.sem_seg[0, :10] = 3
    batch[0].gt_sem_seg.sem_seg[0, 10:20] = 10
    (target,) = targets_from_samples(batch, 5, 6, True, CPU)
    assert target.labels.tolist() == [10] and target.masks[0].sum() == 10 * 96


def test_no_masks_in_a_detection_model(samples):
    (target,) = targets_from_samples(samples([2]), 5, 0, False, CPU)
    assert target.masks is None and target.boxes.shape == (2, 4)


def test_image_without_objects(samples):
    (target,) = targets_from_samples(samples([0]), 5, 0, True, CPU)
    assert target.boxes.shape == (0, 4) and target.masks.shape == (0, 64, 96)
    assert target.labels.dtype == torch.int64


def test_missing_masks_name_the_image(samples):
    batch = samples([1, 2])
    del batch[1].gt_instances.masks
    with pytest.raises(ValueError, match=r'^1\.jpg: the model predicts masks.*with_mask=True.*mask_dims=None'):
        targets_from_samples(batch, 5, 0, True, CPU)


def test_missing_semantic_map_names_the_image(samples):
    batch = samples([1, 2], num_stuff=6)
    del batch[0].gt_sem_seg
    with pytest.raises(ValueError, match=r'^0\.jpg: the model has 6 stuff classes.*LoadCocoPanopticAnnotations'):
        targets_from_samples(batch, 5, 6, True, CPU)


@pytest.mark.parametrize('key', ['pad_mask', 'pad_seg'])
def test_padding_of_images_only_names_the_key_to_set(samples, key):
    batch = samples([1, 2], sizes=[(64, 96), (50, 60)], num_stuff=6, **{key: False})
    with pytest.raises(ValueError, match=rf'^1\.jpg: .*\(50, 60\) on a canvas of \(64, 96\).*{key}=True'):
        targets_from_samples(batch, 5, 6, True, CPU)
