"""What files are checked with."""

import numpy as np
import pytest
import torch
from PIL import Image

from mmmaskdino.export import check
from mmmaskdino.export.check import fitted, random_input, read_photo, selection_margin
from mmmaskdino.structures import QueryInit


@pytest.mark.parametrize(
    'size, target, is_canvas, expected',
    [
        ((640, 480), None, False, (640, 480)),
        ((640, 480), (1333, 800), False, (1067, 800)),
        ((480, 640), (1333, 800), False, (800, 1067)),
        ((2000, 500), (1333, 800), False, (1333, 333)),
        ((640, 480), (320, 320), True, (320, 240)),
        ((480, 640), (320, 320), True, (240, 320)),
        ((1000, 1), (100, 100), True, (100, 1)),
    ],
)
def test_fitted(size, target, is_canvas, expected):
    assert fitted(size, target, is_canvas) == expected


def test_photo_is_normalised_and_padded_as_by_the_model(make_network, tmp_path):
    cfg, network = make_network('panoptic')
    pixels = np.random.default_rng(0).integers(256, size=(50, 70, 3), dtype=np.uint8)
    path = tmp_path / 'photo.png'
    Image.fromarray(pixels).save(path)
    item = read_photo(path, cfg, network, None, None)
    bgr = torch.from_numpy(pixels[..., ::-1].copy()).permute(2, 0, 1)
    expected = network.model.data_preprocessor(dict(inputs=[bgr]))['inputs']
    assert item.canvas == (64, 96) and item.image_size.tolist() == [50, 70]
    assert torch.allclose(item.images, expected, atol=1e-5)


def test_the_clearest_of_the_generated_images_is_taken(make_network, monkeypatch):
    _, network = make_network('panoptic')
    taken = random_input(network, (96, 128), (90, 100))
    assert taken.image_size.tolist() == [90, 100] and not taken.images[..., 90:, :].any()
    margins = {}
    for number in (1, check.NUM_CANDIDATES):
        monkeypatch.setattr(check, 'NUM_CANDIDATES', number)
        margins[number] = selection_margin(network, random_input(network, (96, 128), (90, 100)))
    assert 0 < margins[1] < max(margins.values()) == selection_margin(network, taken) < float('inf')


def test_learned_queries_are_not_selected(make_network):
    _, network = make_network('semantic')
    assert selection_margin(network, random_input(network, (96, 128), (96, 128))) == float('inf')


@pytest.mark.parametrize(('num_queries', 'margin'), [(1, 1.0), (2, 0.25), (3, float('inf'))])
def test_the_margin_is_that_of_the_last_selected_token(num_queries, margin):
    scores = torch.tensor([[0.5, 1.75, 0.75]])
    start = QueryInit(torch.zeros(1, num_queries, 4), torch.zeros(1, num_queries, 4), None, None, scores)
    assert check._margin(start) == margin
