"""Do the maps of a backbone lie where the head looks for them?"""

from collections.abc import Sequence

from torch import Tensor


def check_maps(images: Tensor, features: Sequence[Tensor], channels: Sequence[int], strides: Sequence[int]) -> None:
    """Compare the maps of a backbone (and neck) with what the head expects.

    Args:
        images (Tensor): The network's input (bs, 3, H, W).
        features (Sequence[Tensor]): Maps (bs, channels, h, w), finest first.
        channels (Sequence[int]): Channels that the head expects of each.
        strides (Sequence[int]): Stride that it expects of each.

    Raises:
        ValueError: If the number of maps, their channels or sizes differ. A side that the stride does not divide may
            have been rounded either way.
    """
    height, width = images.shape[-2:]
    found = [tuple(feature.shape[1:]) for feature in features]
    expected = [
        (number, -(-height // stride), -(-width // stride)) for number, stride in zip(channels, strides, strict=True)
    ]
    if len(found) == len(expected) and all(
        number == wanted[0] and abs(h * stride - height) < stride and abs(w * stride - width) < stride
        for (number, h, w), wanted, stride in zip(found, expected, strides, strict=True)
    ):
        return
    raise ValueError(
        f'For images of {(height, width)} the head expects maps of (channels, h, w) {expected} at strides '
        f"{tuple(strides)}, got {found}. Fix the backbone's out_indices (out_strides of a TimmBackbone) or the head's "
        'in_channels, or put a neck between them: SimpleFeaturePyramid makes these strides from one map of stride 16'
    )
