"""Pictures of stages, sampling points and tokens."""

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from mmmaskdino.datasets.shapes import METAINFO
from mmmaskdino.visualization.explanation import Explanation
from mmmaskdino.visualization.trace import SamplingPoints, Stage, Trace

FRAME = ((64, 128), (60, 120))
SIZE = (120, 240)  # of the image: twice as large as in the network's input


@pytest.fixture
def image():
    return np.full((*SIZE, 3), 128, np.uint8)


@pytest.fixture
def trace():
    """Two queries: the first is better on the last stage; masks are the left and the upper half of the canvas."""
    masks = torch.full((2, 16, 32), -5.0)
    masks[0, :, :16] = 5
    masks[1, :8] = 5
    boxes = torch.tensor([[0.25, 0.5, 0.5, 1.0], [0.5, 0.25, 1.0, 0.5]])
    scores = torch.tensor([[0.1, 0.9, 0.0], [0.7, 0.2, 0.8]])
    points = SamplingPoints(boxes, torch.rand(2, 4, 3, 2, 2), torch.full((2, 4, 3, 2), 1 / 6))
    stages = [Stage('initial queries', scores.flip(0), boxes, masks), Stage('layer 1', scores, boxes, masks)]
    return Trace(stages, [points], None)


@pytest.fixture
def explanation(image, trace):
    return Explanation(image, trace, FRAME, ['cat', 'dog', 'sky'])


def test_best_query(explanation):
    assert explanation.best_query() == 0 and explanation.best_query(1) == 1
    assert explanation.best_query(num_classes=1) == 1
    with pytest.raises(ValueError, match='there are 2 queries'):
        explanation.best_query(2)


def test_query_at_a_pixel(explanation):
    # Half of the canvas is 64 of 120 pixels, 128 of the image's 240.
    assert explanation.query_at(10, 100) == 0
    assert explanation.query_at(10, 10) == 0  # both; the better one
    assert explanation.query_at(120, 10) == 0
    assert explanation.query_at(135, 10) == 1
    with pytest.raises(ValueError, match='no query covers'):
        explanation.query_at(200, 100)
    with pytest.raises(ValueError, match='outside the image of 240 x 120'):
        explanation.query_at(240, 0)


def test_layers_show_box_mask_and_class(explanation):
    figure = explanation.layers(0)
    titles = [panel.get_title() for panel in figure.axes]
    assert titles == ['initial queries: sky 0.80', 'layer 1: dog 0.90']
    (box,) = figure.axes[1].patches
    assert box.get_bbox().bounds == pytest.approx((0, 0, 128, 128))
    pixels = drawn(figure)
    left, right = panel_pixels(figure, pixels, 1, [(40, 60), (200, 60)])
    assert np.ptp(right) == 0 and left[2] < left[0] - 30  # yellow over grey


def test_sampling_points(explanation, trace):
    (panel,) = explanation.sampling_points(1).axes
    assert len(panel.collections) == 3
    offsets = np.concatenate([np.asarray(points.get_offsets()) for points in panel.collections])
    expected = trace.points[0].locations[1].permute(1, 0, 2, 3).reshape(-1, 2) * torch.tensor([256.0, 128.0])
    assert np.allclose(offsets, expected, atol=1e-3)


def test_tokens_of_a_model(recorded, image):
    *_, trace = recorded
    figure = Explanation(image, trace, ((96, 128), (80, 120)), METAINFO['classes']).tokens(num_masks=4)
    assert [panel.get_title() for panel in figure.axes] == [
        'selected tokens',
        'their masks, the best 4',
        'their boxes, the best 4',
    ]
    assert sum(len(points.get_offsets()) for points in figure.axes[0].collections) == 30
    assert len(figure.axes[2].patches) == 4


def test_no_tokens(explanation):
    with pytest.raises(ValueError, match='learns its queries'):
        explanation.tokens()


def test_without_masks(image, trace):
    stages = [stage._replace(mask_logits=None) for stage in trace.stages]
    explanation = Explanation(image, trace._replace(stages=stages), FRAME, ['cat', 'dog', 'sky'])
    assert explanation.query_at(135, 10) == 1
    assert not explanation.layers(0).axes[0].collections


def drawn(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def panel_pixels(figure, pixels, number, points):
    """Colours of pixels (x, y) of the image in a panel."""
    for point in points:
        x, y = figure.axes[number].transData.transform(point)
        yield pixels[int(pixels.shape[0] - y), int(x)]
