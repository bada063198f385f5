import pytest
import torch
from mmdet.models import SwinTransformer

from mmmaskdino.converters import convert_swin, restore_swin
from mmmaskdino.converters.swin import from_unfold_order, to_unfold_order


@pytest.fixture
def tiny(shared_golden):
    """The recorded Swin Transformer."""
    return torch.load(shared_golden / 'swin_tiny.pt', weights_only=True)


@pytest.fixture
def model(tiny):
    sizes = dict(
        zip(('embed_dims', 'window_size'), (tiny['meta'][k] for k in ('embed_dim', 'window_size')), strict=True)
    )
    model = SwinTransformer(
        depths=tiny['meta']['depths'], num_heads=tiny['meta']['num_heads'], out_indices=(0, 1, 2, 3), **sizes
    )
    model.eval()  # returns None
    return model


def test_recorded_maps(tiny, model, golden_weights):
    converted = convert_swin(golden_weights('swin_tiny')).tensors
    missing, unexpected = model.load_state_dict(converted, strict=False)
    assert not unexpected and all(name.endswith('relative_position_index') for name in missing)
    with torch.no_grad():
        maps = model(tiny['image'])
    for got, wanted in zip(maps, tiny['outputs'].values(), strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)


def test_back(golden_weights):
    official = golden_weights('swin_tiny')
    back = restore_swin(convert_swin(official).tensors).tensors
    assert set(back) == set(official) and all(torch.equal(back[name], official[name]) for name in official)


def test_all_names_of_mmdet(model):
    state = model.state_dict()
    there = restore_swin(state)
    assert 'layers.1.blocks.0.attn.relative_position_index' in there.tensors
    here = convert_swin(there.tensors).tensors
    assert all(torch.equal(here[name], state[name]) for name in state) and len(here) == len(state)


def test_classifier_of_the_authors(golden_weights):
    classifier = {name: tensor for name, tensor in golden_weights('swin_tiny').items() if not name.startswith('norm')}
    extra = ['norm.weight', 'norm.bias', 'head.weight', 'head.bias', 'layers.0.blocks.1.attn_mask']
    converted = convert_swin(classifier | dict.fromkeys(extra, torch.zeros(1)))
    assert set(converted.dropped) == set(extra)
    assert list(converted.absent) == [r'norm\d\.']


def test_merged_pixels_follow_mmdet():
    """Four strided views one after another, as the authors merge pixels, against ``nn.Unfold``."""
    image = torch.randn(1, 3, 4, 6)
    authors = torch.cat([image[:, :, y::2, x::2] for x in (0, 1) for y in (0, 1)], 1).flatten(2).transpose(1, 2)
    mmdet = torch.nn.functional.unfold(image, 2, stride=2).transpose(1, 2)
    assert torch.equal(to_unfold_order(authors), mmdet)
    assert torch.equal(from_unfold_order(mmdet), authors)


def test_foreign_name_is_rejected(golden_weights):
    with pytest.raises(ValueError, match='^absolute_pos_embed is no parameter of a Swin Transformer'):
        convert_swin(golden_weights('swin_tiny') | {'absolute_pos_embed': torch.zeros(1)})
