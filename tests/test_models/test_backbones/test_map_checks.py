import pytest
import torch

from mmmaskdino.models.backbones.map_checks import check_maps

CHANNELS, STRIDES = (8, 16, 24, 32), (4, 8, 16, 32)


def maps(height, width, channels=CHANNELS, strides=STRIDES):
    return [torch.zeros(1, c, -(-height // s), -(-width // s)) for c, s in zip(channels, strides, strict=True)]


@pytest.mark.parametrize('size', [(64, 96), (50, 51), (33, 31)])
def test_maps_that_fit(size):
    check_maps(torch.zeros(1, 3, *size), maps(*size), CHANNELS, STRIDES)


@pytest.mark.parametrize(
    'found',
    [
        maps(64, 96, CHANNELS[1:], STRIDES[1:]),
        maps(64, 96, CHANNELS[::-1], STRIDES),
        maps(64, 96, CHANNELS, (8, 16, 32, 64)),
        [*maps(64, 96)[:3], torch.zeros(1, 32, 4, 6)],
        [m.permute(0, 2, 3, 1) for m in maps(64, 96)],
    ],
    ids=['one is missing', 'channels', 'strides', 'a stride twice', 'channels last'],
)
def test_maps_that_do_not_fit(found):
    with pytest.raises(ValueError, match=r'expects maps .*\(8, 16, 24\), .*\(32, 2, 3\)\] at strides') as error:
        check_maps(torch.zeros(1, 3, 64, 96), found, CHANNELS, STRIDES)
    assert f'got {[tuple(m.shape[1:]) for m in found]}' in str(error.value)
    assert 'out_indices' in str(error.value) and 'in_channels' in str(error.value)
