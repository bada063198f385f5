"""ResNets: detectron2's names and torchvision's, which mmdet shares."""

from collections.abc import Mapping

from torch import Tensor

from .conversion import Conversion, rename
from .names import NameRules

_STAGE_RULES = [
    pair
    for stage in (1, 2, 3, 4)
    for pair in (
        (f'res{stage + 1}.{{}}.shortcut.norm.', f'layer{stage}.{{}}.downsample.1.'),
        (f'res{stage + 1}.{{}}.shortcut.', f'layer{stage}.{{}}.downsample.0.'),
        (f'res{stage + 1}.{{}}.conv{{}}.norm.', f'layer{stage}.{{}}.bn{{}}.'),
        (f'res{stage + 1}.{{}}.conv{{}}.', f'layer{stage}.{{}}.conv{{}}.'),
    )
]
RESNET = NameRules(('stem.conv1.norm.', 'bn1.'), ('stem.conv1.', 'conv1.'), *_STAGE_RULES)
CLASSIFIER = {r'(stem\.)?fc\.': "ImageNet's classifier"}


def convert_resnet(source: Mapping[str, Tensor]) -> Conversion:
    """Convert a ResNet.

    Args:
        source (Mapping[str, Tensor]): Names of detectron2, or of torchvision.

    Returns:
        Conversion: State dict of mmdet's ``ResNet``.

    Raises:
        ValueError: If a name is foreign.
    """
    if any(name.startswith('stem.') for name in source):
        return rename(source, RESNET.forward, 'a detectron2 ResNet', CLASSIFIER)
    return rename(source, lambda name: name if RESNET.backward(name) else None, 'a torchvision ResNet', CLASSIFIER)


def restore_resnet(ours: Mapping[str, Tensor], drops: Mapping[str, str] | None = None) -> Conversion:
    """The way back: mmdet's ``ResNet`` to detectron2's names (``drops`` as in :func:`rename`)."""
    return rename(ours, RESNET.backward, "mmdet's ResNet", drops)
