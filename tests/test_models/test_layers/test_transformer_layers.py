import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from mmmaskdino.models.layers.transformer_layers import FeedForward, run_layer
from mmmaskdino.ops import device


class LargestResult(TorchDispatchMode):
    """Notes how many numbers the largest tensor has that an operation makes."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        sizes = [x.numel() for x in tree_flatten(result)[0] if isinstance(x, torch.Tensor)]
        self.numbers = max(self.numbers, *sizes, 0)
        return result


@torch.no_grad()
def test_hidden_tokens_of_a_large_image_are_few_at_a_time(monkeypatch):
    ffn, tokens = FeedForward(8, 64), torch.randn(2, 500, 8)
    whole = ffn(tokens)
    for name, is_host in (('HOST_VALUES', True), ('DEVICE_VALUES', False)):
        with monkeypatch.context() as patch:
            patch.setattr(device, name, 2 * 2 * 64 * 50)
            patch.setattr(device, 'is_host', lambda tensor, is_host=is_host: is_host)
            with LargestResult() as largest:
                torch.testing.assert_close(ffn(tokens), whole)
            assert largest.numbers == tokens.numel() > 2 * 50 * 64  # the result alone


def test_gradients_do_not_depend_on_parts(monkeypatch):
    ffn, tokens = FeedForward(8, 64), torch.randn(2, 50, 8, requires_grad=True)
    found = []
    for values in (2**20, 1):
        monkeypatch.setattr(device, 'HOST_VALUES', values)
        found.append(torch.autograd.grad(ffn(tokens).square().sum(), (tokens, *ffn.parameters())))
    for got, expected in zip(*found, strict=True):
        assert torch.equal(got, expected)


def test_checkpointing_repeats_what_is_random():
    layer, x = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5)), torch.randn(4, 6)
    found = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        found.append(torch.autograd.grad(run_layer(layer, x, with_cp=with_cp).square().sum(), layer.parameters()))
    for got, expected in zip(*found, strict=True):
        assert torch.equal(got, expected)
