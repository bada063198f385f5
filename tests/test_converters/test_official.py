"""Whole models of the official release."""

import pytest
import torch

from mmmaskdino.converters import convert, convert_model, restore_model
from mmmaskdino.converters.target import build_without_memory

RELEASED = {
    'coco_instance_r50_4s_2048': 'maskdino_r50_coco_instance',
    'coco_instance_r50_hid1024_3s': 'maskdino_r50-3level_coco_instance',
    'coco_panoptic_r50_2048': 'maskdino_r50_coco_panoptic',
    'coco_instance_swinl_maskenhanced': 'maskdino_swin-l_coco_instance',
    'coco_panoptic_swinl': 'maskdino_swin-l_coco_panoptic',
    'ade20k_semantic_r50': 'maskdino_r50_ade20k_semantic',
    'cityscapes_semantic_r50': 'maskdino_r50_cityscapes_semantic',
}
every_release = pytest.mark.parametrize(('name', 'config'), RELEASED.items())


@every_release
def test_release_fills_the_model_of_its_config(release, recorded, load_config, load_target, name, config):
    state = release(name)
    result = convert(state, load_target(config))
    assert result.kind == 'maskdino' and not result.random and not result.conversion.added
    assert set(result.conversion.used) | set(result.conversion.dropped) == set(state)
    assert set(result.conversion.dropped.values()) == {
        'second name of a tensor',
        'class weights of the loss, which the config gives',
    }
    model = build_without_memory(load_config(config))
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert trained == recorded(name)['n_parameters_unique']
    model.load_state_dict(result.conversion.tensors, strict=True, assign=True)
    for key, tensor in model.state_dict().items():
        assert key.endswith('num_batches_tracked') or torch.equal(tensor, result.conversion.tensors[key])


@every_release
def test_there_and_back(release, load_target, name, config):
    state, target = release(name), load_target(config)
    result = convert(convert(state, target).conversion.tensors, target)
    back = result.conversion.tensors
    assert result.kind == 'mmmaskdino'
    assert set(back) == set(state)
    assert all(torch.equal(back[key], state[key]) and back[key].dtype == state[key].dtype for key in state)


def test_back_from_a_checkpoint_of_a_training_run(release, load_config, load_target):
    """There frozen norms have counts, which the official ones have not."""
    target = load_target('maskdino_r50_coco_instance')
    ours = convert(release('coco_instance_r50_4s_2048'), target).conversion.tensors
    counts = {name: torch.tensor(0) for name in target.shapes if name.endswith('num_batches_tracked')}
    exported = convert(ours | counts, target).conversion
    assert set(exported.dropped) == set(counts) and counts
    assert not any('num_batches_tracked' in name for name in exported.tensors)
    kept = restore_model(ours | counts, coarsest_first=False, frozen_norms=False).tensors
    assert 'backbone.stem.conv1.norm.num_batches_tracked' in kept


def test_foreign_names_are_rejected(golden_weights):
    head = {f'sem_seg_head.{key}': tensor for key, tensor in golden_weights('inst4').items()}
    with pytest.raises(
        ValueError, match='^optimizer.step is no parameter of an official Mask DINO: expected .*sem_seg_head'
    ):
        convert_model(head | {'optimizer.step': torch.zeros(1)})
    with pytest.raises(ValueError, match='^layer5.weight is no parameter of a torchvision ResNet'):
        convert_model(head | {'backbone.layer5.weight': torch.zeros(1)})
    converted = convert_model(head | {'criterion.empty_weight': torch.zeros(8), 'pixel_mean': torch.zeros(3, 1, 1)})
    assert 'panoptic_head.heads.norm.bias' in converted.tensors
    assert {'criterion.empty_weight', 'pixel_mean'} == set(converted.dropped)


def test_foreign_names_have_no_way_back(golden_weights):
    head = {f'sem_seg_head.{key}': tensor for key, tensor in golden_weights('inst4').items()}
    ours = convert_model(head).tensors
    assert set(head) <= set(restore_model(ours, coarsest_first=False).tensors)
    with pytest.raises(ValueError, match='^neck.weight is no parameter of a Mask DINO: expected'):
        restore_model(ours | {'neck.weight': torch.zeros(1)}, coarsest_first=False)
    with pytest.raises(ValueError, match='^heads.new.weight has no counterpart'):
        restore_model(ours | {'panoptic_head.heads.new.weight': torch.zeros(1)}, coarsest_first=False)
    del ours['panoptic_head.denoising.label_embedding.weight']
    with pytest.raises(ValueError, match='always has a label embedding'):
        restore_model(ours, coarsest_first=False)
