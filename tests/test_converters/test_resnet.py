import pytest
import torch
from mmdet.models import ResNet

from mmmaskdino.converters import convert_resnet, restore_resnet

NAMES = {
    'stem.conv1.weight': 'conv1.weight',
    'stem.conv1.norm.running_var': 'bn1.running_var',
    'res2.0.shortcut.weight': 'layer1.0.downsample.0.weight',
    'res2.0.shortcut.norm.bias': 'layer1.0.downsample.1.bias',
    'res5.2.conv3.norm.running_mean': 'layer4.2.bn3.running_mean',
    'res4.5.conv2.weight': 'layer3.5.conv2.weight',
}


def test_names_of_detectron2():
    tensors = {name: torch.randn(1) for name in NAMES}
    converted = convert_resnet(tensors | {'stem.fc.weight': torch.zeros(1)})
    assert converted.used == NAMES
    assert converted.dropped == {'stem.fc.weight': "ImageNet's classifier"}
    assert all(converted.tensors[ours] is tensors[theirs] for theirs, ours in NAMES.items())
    assert restore_resnet(converted.tensors).tensors == tensors


@pytest.mark.parametrize('depth', [18, 50])
def test_all_names_of_mmdet(depth):
    with torch.device('meta'):
        state = ResNet(depth).state_dict()
    there = restore_resnet(state)
    assert all(name.startswith(('stem.conv1.', 'res')) for name in there.tensors)
    assert list(convert_resnet(there.tensors).tensors) == list(state)


def test_torchvision_has_the_same_names():
    with torch.device('meta'):
        state = ResNet(50).state_dict()
    converted = convert_resnet(state | {'fc.weight': torch.zeros(1), 'fc.bias': torch.zeros(1)})
    assert converted.used == {name: name for name in state}
    assert set(converted.dropped) == {'fc.weight', 'fc.bias'}


@pytest.mark.parametrize(
    ('name', 'beside', 'which'),
    [('conv1_w', 'stem.conv1.weight', 'detectron2'), ('layer1.0.se.weight', 'conv1.weight', 'torchvision')],
)
def test_foreign_names_are_rejected(name, beside, which):
    with pytest.raises(ValueError, match=f'^{name} is no parameter of a {which} ResNet'):
        convert_resnet({beside: torch.zeros(1), name: torch.zeros(1)})
