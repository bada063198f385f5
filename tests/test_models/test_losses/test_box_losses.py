import torch
from torchvision.ops import generalized_box_iou_loss

from mmmaskdino.models.losses import BoxGIoULoss
from mmmaskdino.models.utils.boxes import cxcywh_to_xyxy


def test_it_is_torchvisions_with_its_gradient():
    """Boxes that overlap, that lie in one another, that are far apart; small ones, too."""
    boxes = torch.cat([torch.rand(2, 50, 2), 0.5 * torch.rand(2, 50, 2)], -1)
    boxes[:, 10:20, 2:] *= 1e-3
    first, second = cxcywh_to_xyxy(boxes)
    found = []
    for loss in (BoxGIoULoss(2.0), lambda a, b: 2 * generalized_box_iou_loss(a, b, eps=1e-12)):
        predicted = first.clone().requires_grad_()
        values = loss(predicted, second)
        found.append((values, *torch.autograd.grad(values.sum(), predicted)))
    for got, expected in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_boxes_without_area_have_a_loss():
    point = torch.tensor([[0.5, 0.5, 0.5, 0.5]], requires_grad=True)
    value = BoxGIoULoss()(point, point.detach()).sum()
    value.backward()
    assert value.isfinite() and point.grad.isfinite().all()
    assert BoxGIoULoss()(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0,)
