import torch
import torch.nn.functional as F
from measuring import count_flops

from mmmaskdino.ops.deform_attn import sample_attention


def test_products():
    a, b = torch.randn(5, 7), torch.randn(7, 11)
    assert count_flops(lambda: a @ b) == 2 * 5 * 7 * 11
    assert count_flops(lambda: F.conv2d(torch.randn(1, 3, 8, 8), torch.randn(4, 3, 3, 3), padding=1)) == 2 * 64 * 4 * 27


def test_attention():
    x = torch.randn(2, 4, 10, 8)
    assert count_flops(lambda: F.scaled_dot_product_attention(x, x, x)) == 2 * 2 * (2 * 4 * 10) * 10 * 8


def test_sampling():
    value = torch.randn(2, 12 + 6, 4, 8)  # two images, two levels, four heads of eight channels
    locations, weights = torch.rand(2, 5, 4, 2, 3, 2), torch.rand(2, 5, 4, 2, 3)
    cells = 4 * (2 * 5 * 4 * 2 * 3)
    assert count_flops(lambda: sample_attention(value, ((3, 4), (2, 3)), locations, weights)) == 2 * cells * 8
