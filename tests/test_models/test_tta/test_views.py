"""Geometry: what views predict, in the frame of one of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmmaskdino.models.seg_heads.image_queries import ImageFrames, ImageQueries
from mmmaskdino.models.tta.views import View, boxes_in, choose_reference, flipped_axes, masks_in

FLIPS = [(), (1,), (0,), (0, 1)]


def make_view(image: tuple[int, int], canvas: tuple[int, int], flipped: tuple[int, ...] = ()) -> View:
    """Predicts two masks, linear in x and in y of the upright image, and one box at (0.2, 0.4) of size (0.1, 0.3)."""
    height, width = canvas[0] // 4, canvas[1] // 4
    y = (torch.arange(height)[:, None] + 0.5) * 4 / image[0]
    x = (torch.arange(width) + 0.5) * 4 / image[1]
    x, y = (1 - x if 1 in flipped else x), (1 - y if 0 in flipped else y)
    features = torch.stack([x.expand(height, width), y.expand(height, width)])
    center = [0.8 if 1 in flipped else 0.2, 0.6 if 0 in flipped else 0.4]
    scale = torch.tensor([image[1] / canvas[1], image[0] / canvas[0]])
    boxes = torch.cat([torch.tensor(center) * scale, torch.tensor([0.1, 0.3]) * scale])[None]
    return View(
        ImageQueries(torch.zeros(2, 1), boxes, torch.eye(2), features), ImageFrames(canvas, image, (7, 9)), flipped
    )


def inside(maps: Tensor, view: View) -> Tensor:
    """The part of maps that lies well within the image."""
    height, width = (length // 4 for length in view.frames.image)
    return maps[:, 2 : height - 2, 2 : width - 2]


@pytest.mark.parametrize('flipped', FLIPS)
@pytest.mark.parametrize(('image', 'canvas'), [((64, 96), (64, 96)), ((50, 90), (64, 96)), ((100, 180), (128, 192))])
@pytest.mark.parametrize('reference_flip', [(), (1,)])
def test_masks_and_boxes_of_any_view(image, canvas, flipped, reference_flip) -> None:
    """A linear map is interpolated without error, so only a wrong position would show."""
    reference, view = make_view((75, 135), (96, 160), reference_flip), make_view(image, canvas, flipped)
    upright = make_view((75, 135), (96, 160))
    expected = inside(upright.queries.mask_features, upright)
    torch.testing.assert_close(inside(masks_in(reference, view), upright), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(masks_in(reference, view, torch.tensor([1])), masks_in(reference, view)[1:])
    torch.testing.assert_close(boxes_in(reference, view), upright.queries.boxes)
    torch.testing.assert_close(inside(masks_in(reference, reference), upright), expected, atol=1e-5, rtol=0)


def test_an_upright_reference_is_left_alone() -> None:
    view = make_view((50, 90), (64, 96))
    assert torch.equal(masks_in(view, view), view.queries.mask_features)
    assert boxes_in(view, view).data_ptr() == view.queries.boxes.data_ptr()


def test_the_largest_upright_view_is_the_reference() -> None:
    small, large, flipped = (make_view(*sizes) for sizes in (((64, 64),) * 2, ((96, 96),) * 2, ((96, 96),) * 2))
    flipped = flipped._replace(flipped=(1,))
    assert choose_reference([small, flipped, large]) is large
    assert choose_reference([small, flipped]) is flipped


def test_flips_of_metainfo() -> None:
    assert flipped_axes(dict(flip=False, flip_direction=None)) == ()
    assert [flipped_axes(dict(flip=True, flip_direction=d)) for d in ('horizontal', 'vertical', 'diagonal')] == FLIPS[
        1:
    ]
    with pytest.raises(ValueError, match='a.jpg lacks flip and flip_direction: .*tta_pipeline'):
        flipped_axes(dict(img_path='a.jpg'))
