from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from mmdet.registry import VISUALIZERS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData

import mmmaskdino.visualization  # noqa: F401  registers the visualizer

CLASSES = ('cat', 'sky')
SIZE = (160, 200)


@pytest.fixture
def visualizer():
    visualizer = VISUALIZERS.get('MaskDINOVisualizer')()
    visualizer.dataset_meta = dict(classes=CLASSES, palette=[(255, 0, 0), (0, 0, 255)])
    return visualizer


@pytest.fixture
def image():
    return np.full((*SIZE, 3), 128, np.uint8)


def instances(num):
    masks = torch.zeros(num, *SIZE, dtype=torch.bool)
    masks[:, 30:120, 40:150] = True
    boxes = torch.tensor([[40.0, 30, 150, 120]]).repeat(num, 1)
    return InstanceData(bboxes=boxes, labels=torch.zeros(num, dtype=torch.long), scores=torch.ones(num), masks=masks)


def segments(value):
    return PixelData(sem_seg=torch.full((1, *SIZE), value, dtype=torch.int32))


def test_nothing_predicted_leaves_the_image(visualizer, image):
    data_sample = DetDataSample(pred_instances=instances(0), pred_panoptic_seg=segments(len(CLASSES)))
    visualizer.add_datasample('image', image, data_sample, draw_gt=False)
    np.testing.assert_array_equal(visualizer.get_image(), image)


def test_instances_are_drawn_in_their_colour(visualizer, image):
    drawn = visualizer.draw_instances(image, instances(1)).astype(int)
    red, _, blue = drawn[60:110, 60:140].reshape(-1, 3).mean(0)
    assert red > blue + 60
    np.testing.assert_array_equal(drawn[130:], 128)


@pytest.mark.parametrize('name', [r'$\frac{$', '$a$', '100% {0}', '{{ x }}'])
def test_class_names_are_drawn_as_they_stand(visualizer, image, name):
    """matplotlib would take what stands between two `$` for a formula, and fail at a wrong one."""
    visualizer.dataset_meta['classes'] = (name, 'sky')
    assert (visualizer.draw_instances(image, instances(1)) != image).any()
    assert (visualizer.draw_panoptic(image, segments(0)) != image).any()


def test_boxes_beyond_the_border_do_not_shrink_the_picture(visualizer, image):
    inside, beyond = instances(1), instances(1)
    inside.bboxes = torch.tensor([[0.0, 0, 199, 159]])
    beyond.bboxes = torch.tensor([[-60.0, -40, 300, 250]])
    drawn = visualizer.draw_instances(image, beyond)
    np.testing.assert_array_equal(drawn, visualizer.draw_instances(image, inside))
    assert beyond.bboxes[0, 0] == -60


def test_drawing_is_repeatable_and_leaves_the_random_state_alone(visualizer, image):
    np.random.seed(5)
    expected_draw = np.random.rand()
    np.random.seed(5)
    first = visualizer.draw_instances(image, instances(2))
    assert np.random.rand() == expected_draw
    np.testing.assert_array_equal(first, visualizer.draw_instances(image, instances(2)))


def test_threads_draw_the_same(image):
    """Each with a visualizer of its own; the generator of colours is one for all."""

    def draw(_):
        visualizer = VISUALIZERS.get('MaskDINOVisualizer')()
        visualizer.dataset_meta = dict(classes=CLASSES, palette=[(255, 0, 0), (0, 0, 255)])
        return visualizer.draw_instances(image.copy(), instances(8))

    expected = draw(0)
    with ThreadPoolExecutor(4) as pool:
        for picture in pool.map(draw, range(12)):
            assert np.array_equal(picture, expected)


@pytest.mark.parametrize('as_array', [False, True])
def test_panoptic_segments_are_drawn(visualizer, image, as_array):
    panoptic = segments(len(CLASSES))
    panoptic.sem_seg[:, :80] = 1
    if as_array:
        panoptic = panoptic.numpy()
    drawn = visualizer.draw_panoptic(image, panoptic).astype(int)
    assert drawn[5:10, 5:10, 2].mean() > 200  # sky is blue
    np.testing.assert_array_equal(drawn[100:], 128)  # void


def test_name_of_a_segment_lies_on_it(visualizer, image, monkeypatch):
    panoptic = segments(1)
    panoptic.sem_seg[:, 20:140, 20:180] = 1000  # the cat's centre is also the sky's
    written = {}
    monkeypatch.setattr(visualizer, 'draw_texts', lambda text, position, **kwargs: written.update({text: position}))
    visualizer.draw_panoptic(image, panoptic)
    for name, value in (('sky', 1), ('cat', 1000)):
        x, y = written[name].astype(int)
        assert panoptic.sem_seg[0, y, x] == value


@pytest.mark.parametrize(('size', 'drawn_size'), [(3, 9), ([20], 20), (None, 10)])
def test_text_is_never_tiny(visualizer, image, size, drawn_size):
    visualizer.set_image(image)
    visualizer.draw_texts('cat', torch.zeros(2), font_sizes=size)
    assert visualizer.ax_save.texts[0].get_size() == drawn_size


def test_palette_of_lists_is_drawn_as_one_of_tuples(visualizer, image):
    expected = visualizer.draw_instances(image, instances(2))
    visualizer.dataset_meta = dict(visualizer.dataset_meta, palette=[[255, 0, 0], [0, 0, 255]])
    np.testing.assert_array_equal(visualizer.draw_instances(image, instances(2)), expected)


@pytest.mark.parametrize(('width', 'height'), [(120, 90), (640, 480), (2048, 1536)])
def test_names_at_the_border_stay_inside(visualizer, width, height):
    """Also a name that is wider than the image."""
    visualizer.dataset_meta['classes'] = ('a long name of a class ' * (1 + 2 * (width < 200)), 'sky')
    w, h = width, height
    corners = [(0, 0), (w - 5, 0), (0, h - 5), (w - 5, h - 5), (w / 2, h / 2)]
    found = InstanceData(
        bboxes=torch.tensor([[x, y, x + 5, y + 5] for x, y in corners]), labels=torch.zeros(5, dtype=torch.long)
    )
    visualizer.draw_instances(np.full((height, width, 3), 128, np.uint8), found)
    texts = visualizer.ax_save.texts
    assert len(texts) == 5
    for text in texts:
        extent = visualizer._extent(text)
        assert extent.x0 >= -1 and extent.y0 >= -1 and extent.x1 <= width + 1 and extent.y1 <= height + 1
        assert extent.height > 4


def test_names_do_not_cover_each_other(visualizer):
    """Of names at one place the others stand above and below the first, or are left out; those beside it are drawn."""
    visualizer.set_image(np.full((200, 400, 3), 255, np.uint8))
    places = dict(window=(50, 50), above=(52, 53), below=(52, 52), hidden=(51, 51), door=(250, 50), roof=(50, 150))
    for name, place in places.items():
        visualizer.draw_texts(
            name, np.array(place, np.float32), font_sizes=13, bboxes=[dict(facecolor='black', pad=0.7)]
        )
    texts = visualizer.ax_save.texts
    assert [text.get_text() for text in texts] == ['window', 'above', 'below', 'door', 'roof']
    window, above, below = map(visualizer._extent, texts[:3])  # pixels of matplotlib count upwards
    assert above.y0 > window.y0 > below.y0
    visualizer.set_image(np.full((200, 400, 3), 255, np.uint8))
    visualizer.draw_texts('hidden', np.array([52, 53], np.float32), font_sizes=13)
    assert [text.get_text() for text in visualizer.ax_save.texts] == ['hidden'], 'of another image'


def test_names_do_not_hide_small_objects(visualizer):
    """They stand above or below, or have no place; a large object holds its own."""
    visualizer.dataset_meta['classes'] = ('nucleus', 'sky')
    small = [[x, y, x + 12, y + 12] for y in (100, 114, 128) for x in (40, 55, 70, 85)]
    boxes = torch.tensor([*small, [200.0, 60, 380, 180]])
    found = InstanceData(bboxes=boxes, labels=torch.zeros(len(boxes), dtype=torch.long))
    visualizer.draw_instances(np.full((200, 400, 3), 255, np.uint8), found)
    *names, last = [visualizer._extent(text) for text in visualizer.ax_save.texts]
    assert 2 <= len(names) < len(small)
    for name in names:
        for x0, y0, x1, y1 in small:
            width = min(name.x1, x1) - max(name.x0, x0)
            height = min(200 - name.y0, y1) - max(200 - name.y1, y0)
            assert max(width, 0) * max(height, 0) <= 0.5 * 12 * 12
    assert 200 < last.x0 < last.x1 < 380 and 200 - 180 < last.y0 < last.y1 < 200 - 60, 'in the large box'


def test_letters_and_lines_grow_with_the_image(visualizer):
    def height_of_text(side):
        box = torch.tensor([[0.2, 0.2, 0.8, 0.8]]) * side
        found = InstanceData(bboxes=box, labels=torch.zeros(1, dtype=torch.long))
        visualizer.draw_instances(np.full((side, side, 3), 128, np.uint8), found)
        (text,) = visualizer.ax_save.texts
        return visualizer._extent(text).height / side

    assert height_of_text(4000) == pytest.approx(height_of_text(2000), rel=0.1)
    assert 0.01 < height_of_text(2000) < 0.05
    visualizer.set_image(np.zeros((2000, 2000, 3), np.uint8))
    visualizer.draw_bboxes(torch.tensor([[200.0, 200, 1800, 1800]]), line_widths=2)
    assert visualizer.ax_save.collections[-1].get_linewidth()[0] > 4
