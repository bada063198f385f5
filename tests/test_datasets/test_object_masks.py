import pickle
import random

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.datasets.transforms import (
    CachedMixUp,
    CachedMosaic,
    CopyPaste,
    Expand,
    PhotoMetricDistortion,
    RandomCrop,
    RandomErasing,
    RandomFlip,
    Resize,
    Rotate,
    ShearX,
    TranslateX,
)
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from pycocotools import mask as coco_mask

from mmmaskdino.datasets import DrawTargets, ObjectMasks
from mmmaskdino.datasets.object_masks import segment_masks

HEIGHT, WIDTH = 90, 120
TRIANGLE = [30.0, 20.0, 75.5, 31.0, 42.0, 66.0]
ELLIPSES = [((85, 40), (25, 12)), ((40, 70), (18, 14))]


def draw(polygons, height=HEIGHT, width=WIDTH):
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width)))


def ellipse(centre, radii):
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    return (((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 < 1).astype(np.uint8)


@pytest.fixture
def bitmaps():
    """A triangle and two ellipses that do not overlap it much."""
    return np.stack([draw([TRIANGLE]), *(ellipse(*shape) for shape in ELLIPSES)])


@pytest.fixture
def masks(bitmaps):
    """The same, each in another form: polygons, compressed and plain run lengths."""
    plain = np.diff(np.flatnonzero(np.diff(bitmaps[2].T.ravel(), prepend=0, append=2)), prepend=0).tolist()
    compressed = coco_mask.encode(np.asfortranarray(bitmaps[1]))
    compressed['counts'] = compressed['counts'].decode()
    return ObjectMasks([[TRIANGLE], compressed, dict(size=[HEIGHT, WIDTH], counts=plain)], HEIGHT, WIDTH, [7, 8, 9])


def test_all_forms_are_drawn_as_annotated(masks, bitmaps):
    np.testing.assert_array_equal(masks.masks, bitmaps)
    np.testing.assert_array_equal(ObjectMasks(bitmaps, HEIGHT, WIDTH).masks, bitmaps)
    assert masks.areas.tolist() == bitmaps.sum((1, 2)).tolist() and len(masks) == 3
    assert repr(masks) == 'ObjectMasks(num_masks=3, height=90, width=120)'
    for dtype in (torch.bool, torch.uint8, torch.float32):
        tensor = masks.to_tensor(dtype, 'cpu')
        assert tensor.dtype == dtype
        np.testing.assert_array_equal(tensor.numpy(), bitmaps)


def test_boxes(masks, bitmaps):
    boxes = masks.get_bboxes(HorizontalBoxes).tensor.numpy()
    np.testing.assert_allclose(boxes[0], [30, 20, 75.5, 66])
    expected = BitmapMasks(bitmaps, HEIGHT, WIDTH).get_bboxes('hbox').tensor.numpy()
    np.testing.assert_array_equal(boxes[1:], expected[1:])
    np.testing.assert_allclose(masks.get_extents(), boxes)
    np.testing.assert_allclose(masks.flip('horizontal').get_extents()[:, 0], WIDTH - boxes[:, 2])


@pytest.mark.parametrize(
    'move',
    [
        lambda masks: masks.flip('horizontal'),
        lambda masks: masks.flip('vertical'),
        lambda masks: masks.flip('diagonal'),
        lambda masks: masks.crop(np.array([35, 10, 110, 80])),
        lambda masks: masks.pad((100, 150)),
        lambda masks: masks.pad((100, 150), pad_val=1),
        lambda masks: masks.expand(150, 160, 20, 30),
        lambda masks: masks.translate((HEIGHT, WIDTH), -25),
        lambda masks: masks.translate((HEIGHT, WIDTH), 13, 'vertical'),
        lambda masks: masks.translate((HEIGHT, WIDTH), -15, border_value=1),
        lambda masks: masks.rotate((HEIGHT, WIDTH), 30),
        lambda masks: masks.shear((HEIGHT, WIDTH), 0.3),
        lambda masks: masks[np.array([True, False, True])],
        lambda masks: masks[[2, 0]],
        lambda masks: masks[1],
        lambda masks: masks[:0],
        lambda masks: type(masks).cat([masks, masks.flip('vertical')]),
    ],
)  # fmt: skip
def test_whole_pixels_move_as_in_mmdet(bitmaps, move):
    expected = move(BitmapMasks(bitmaps, HEIGHT, WIDTH))
    moved = move(ObjectMasks(bitmaps, HEIGHT, WIDTH))
    assert isinstance(moved, ObjectMasks) and (moved.height, moved.width) == (expected.height, expected.width)
    np.testing.assert_array_equal(moved.to_ndarray(), expected.masks)
    np.testing.assert_array_equal(moved.rasterized().to_ndarray(), expected.masks)


def test_order_of_steps_is_kept(masks):
    ids = masks[[2, 0]].flip().resize((50, 61)).pad((70, 70)).annotation_ids
    assert ids == [9, 7]
    first = masks.resize((45, 60)).crop(np.array([10, 10, 60, 45]))
    second = masks.crop(np.array([20, 20, 120, 90])).resize((35, 50))
    np.testing.assert_array_equal(first.to_ndarray(), second.to_ndarray())
    with pytest.raises(ValueError, match="got 'sideways'"):
        masks.flip('sideways')


def test_polygons_become_masks_at_the_final_size(masks):
    double = np.array(TRIANGLE).reshape(-1, 2) * 2.5
    np.testing.assert_array_equal(masks[0].resize((225, 300)).masks[0], draw([double.ravel().tolist()], 225, 300))
    assert masks.rescale(2.5).masks.shape == masks.rescale((300, 225)).masks.shape == (3, 225, 300)


def test_a_polygon_that_leaves_the_image_is_seen_in_the_padding_but_not_beyond_a_cut():
    beyond = ObjectMasks([[[-10, 5, 25, 5, 25, 15, -10, 15]]], 20, 20)
    assert beyond.masks[0].sum() == 200
    padded = beyond.crop(np.array([0, 0, 20, 20])).pad((20, 30))
    assert padded.get_bboxes().tensor.tolist() == [[0, 5, 25, 15]] and padded.areas.tolist() == [250]
    cut = beyond.crop(np.array([2, 0, 18, 20])).pad((20, 30))
    assert cut.get_bboxes().tensor.tolist() == [[0, 5, 16, 15]] and cut.areas.tolist() == [160]


def test_what_was_cut_off_does_not_come_back():
    masks = ObjectMasks([[TRIANGLE], ellipse(*ELLIPSES[0])], HEIGHT, WIDTH).crop(np.array([0, 0, 20, HEIGHT]))
    back = masks.translate((HEIGHT, 200), 60)
    assert not back.remaining().any() and back.areas.tolist() == [0, 0]
    gone = ObjectMasks([[TRIANGLE]], HEIGHT, WIDTH).crop(np.array([50, 0, 60, HEIGHT])).translate((HEIGHT, 10), 15)
    assert not gone.remaining().any()


def test_parts_holes_and_knots():
    two = [[1, 1, 5, 1, 5, 5, 1, 5], [10, 1, 14, 1, 14, 5, 10, 5]]
    knot = [[2, 2, 12, 12, 12, 2, 2, 12]]
    hole = np.ones((20, 20), np.uint8)
    hole[4:16, 4:16] = 0
    masks = ObjectMasks([two, knot, hole], 20, 20)
    left = masks.crop(np.array([4, 0, 11, 20]))
    assert masks.areas[0] == 32 and left.get_bboxes().tensor[0].tolist() == [0, 1, 7, 5] and left.areas[0] == 8
    assert masks.areas[1] > 0
    assert masks.resize((10, 10)).areas[2] == 100 - 36


def test_what_is_too_small_for_a_pixel_remains_and_what_lies_elsewhere_does_not():
    dot, line = np.zeros((2, 40, 40), np.uint8)
    dot[21, 13] = line[np.arange(40), np.arange(40)] = 1
    small = [13.1, 21.1, 13.5, 21.1, 13.5, 21.5, 13.1, 21.5]
    flat = [5, 5, 15, 5, 10, 5]
    masks = ObjectMasks([[small], dot, [flat], line], 40, 40).resize((4, 4))
    assert masks.areas[:3].tolist() == [0, 0, 0] and masks.remaining().all()
    boxes = masks.get_bboxes().tensor
    assert torch.allclose(boxes[:2], torch.tensor([[1.31, 2.11, 1.35, 2.15], [1.3, 2.1, 1.4, 2.2]]))
    assert masks.crop(np.array([2, 0, 4, 4])).remaining().tolist() == [False, False, False, True]


@pytest.mark.parametrize(
    ('mask', 'message'),
    [
        (dict(size=[90, 60], counts=[5400]), r'annotation 3: an RLE of the size \[90, 60\] in an image of \[90, 120\]'),
        (np.zeros((60, 90)), r'annotation 3: a bitmap of \(60, 90\) in an image of \(90, 120\)'),
        ([[1, 2, 3, 4]], 'annotation 3: expected polygons of at least three points'),
        ([], 'annotation 3: expected polygons'),
    ],
)
def test_faulty_masks_are_named(mask, message):
    with pytest.raises(ValueError, match=message):
        ObjectMasks([mask], HEIGHT, WIDTH, [3])


def test_what_is_sent_to_another_process_is_small(masks, bitmaps):
    large = masks.resize((900, 1200)).rasterized()
    sent = pickle.dumps(large)
    assert len(sent) < 0.3 * bitmaps.size * 100
    np.testing.assert_array_equal(pickle.loads(sent).masks, large.masks)


def test_segments_of_a_map():
    numbers = np.zeros((30, 40), np.int16)
    numbers[2:9, 3:20], numbers[5:25, 25:30], numbers[6, 28] = 1, 2, 1
    masks = segment_masks(numbers, [2, 1], ['b', 'a'])
    assert masks.annotation_ids == ['b', 'a']
    np.testing.assert_array_equal(masks.masks, [numbers == 2, numbers == 1])


class Pictures:
    """Loaded samples in which the pixels of the one object are bright, and all others dark."""

    def __init__(self, form):
        self.form = form

    def __call__(self, polygon, label=0):
        bitmap = draw([polygon])
        mask = [polygon] if self.form == 'polygon' else bitmap
        masks = ObjectMasks([mask], HEIGHT, WIDTH)
        return dict(
            img=np.repeat(bitmap[..., None] * 200, 3, axis=2),
            img_shape=(HEIGHT, WIDTH),
            gt_masks=masks,
            gt_bboxes=HorizontalBoxes(torch.from_numpy(masks.get_extents())),
            gt_bboxes_labels=np.array([label]),
            gt_ignore_flags=np.zeros(1, dtype=bool),
        )


@pytest.fixture(params=['polygon', 'bitmap'])
def picture(request):
    return Pictures(request.param)


def assert_masks_are_bright(results, num_objects=1, min_iou=0.96):
    results = DrawTargets()(results)
    masks, bright = results['gt_masks'].to_ndarray(), results['img'].mean(2) > 100
    assert masks.shape == (num_objects, *results['img'].shape[:2])
    seen = masks.any(0)
    assert (seen & bright).sum() / (seen | bright).sum() > min_iou
    boxes = BitmapMasks(masks, *masks.shape[1:]).get_bboxes('hbox').tensor
    assert (boxes - results['gt_bboxes'].tensor).abs().max() <= 1.2


@pytest.mark.parametrize(
    'transform',
    [
        *(RandomFlip(prob=1.0, direction=direction) for direction in ('horizontal', 'vertical', 'diagonal')),
        Resize(scale=(301, 177)),
        Resize(scale_factor=0.6, keep_ratio=True),
        RandomCrop(crop_size=(70, 60), allow_negative_crop=True),
        RandomCrop(crop_size=(0.4, 0.6), crop_type='relative_range', recompute_bbox=True, allow_negative_crop=True),
        PhotoMetricDistortion(brightness_delta=10),
        Expand(prob=1.0, mean=(0, 0, 0)),
        RandomErasing(n_patches=2, ratio=0.2, img_border_value=0),
        TranslateX(prob=1.0, level=5, img_border_value=0),
        Rotate(prob=1.0, level=5, img_border_value=0),
        ShearX(prob=1.0, level=5, img_border_value=0),
    ],
    ids=lambda transform: type(transform).__name__,
)
def test_transforms_of_mmdet(picture, transform):
    for seed in range(5):
        random.seed(seed), np.random.seed(seed)
        results = Compose([RandomFlip(prob=0.5), transform])(picture(TRIANGLE))
        # Sheared and turned masks are interpolated between two values, cut anywhere above 0.
        turned = isinstance(transform, Rotate | ShearX)
        if len(results['gt_masks']):
            assert_masks_are_bright(results, min_iou=0.9 if turned else 0.96)


def test_mosaic(picture):
    mosaic = CachedMosaic(img_scale=(130, 130), pad_val=0, center_ratio_range=(0.9, 1.1), random_pop=False)
    resize = Resize(scale=(110, 130))
    for seed in range(5):
        random.seed(seed)
        mosaic.results_cache.clear()
        for shift in range(6):
            polygon = (np.array(TRIANGLE) + [2 * shift, shift] * 3).tolist()
            results = mosaic(resize(picture(polygon)))
        assert_masks_are_bright(results, 4, min_iou=0.94)


def test_copy_paste(picture):
    square = [80, 50, 110, 50, 110, 80, 80, 80]
    paste = CopyPaste(selected=False)
    results = dict(picture(TRIANGLE), mix_results=[picture(square, label=3)])
    assert_masks_are_bright(paste(results), 2)
    assert results['gt_bboxes_labels'].tolist() == [0, 3]
    # The pasted object hides what lies below it.
    results = dict(picture(TRIANGLE), mix_results=[picture([50, 15, 80, 15, 80, 70, 50, 70])])
    whole = results['gt_masks'].areas[0]
    pasted = paste(results)
    assert_masks_are_bright(pasted, 2)
    assert pasted['gt_masks'].areas[0] < 0.7 * whole


def test_mix_up(picture):
    mix = CachedMixUp(img_scale=(WIDTH, HEIGHT), ratio_range=(1.0, 1.0), flip_ratio=1.0, pad_val=0, max_cached_images=4)
    for _ in range(3):
        results = mix(picture(TRIANGLE))
    first, second = results['gt_masks'].to_ndarray()
    assert first.any() and second.any()
    bright = results['img'].mean(2) > 50
    seen = first | second
    assert (seen & bright).sum() / (seen | bright).sum() > 0.95


def test_albumentations(picture):
    pytest.importorskip('albumentations')
    from mmdet.datasets.transforms import Albu

    boxes = dict(type='BboxParams', format='pascal_voc', label_fields=['gt_bboxes_labels', 'gt_ignore_flags'])
    keymap = {'img': 'image', 'gt_masks': 'masks', 'gt_bboxes': 'bboxes'}
    albu = Albu([dict(type='HorizontalFlip', p=1.0), dict(type='Transpose', p=1.0)], boxes, keymap)
    assert_masks_are_bright(albu(picture(TRIANGLE)))


def test_made_from_a_list_of_bitmaps_as_albumentations_gives_them_back(masks, bitmaps):
    flipped = [bitmap[::-1] for bitmap in bitmaps]
    np.testing.assert_array_equal(type(masks)(flipped, HEIGHT, WIDTH).masks, bitmaps[:, ::-1])
