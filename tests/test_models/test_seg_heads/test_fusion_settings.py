"""The keys of ``test_cfg`` and what is said of wrong ones."""

import re

import pytest

from mmmaskdino.models.seg_heads.fusion_settings import FusionSettings

SHARE, FLAG = 'a number in [0, 1]', 'True or False'


def test_unknown_key_is_rejected_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown keys \['iou_thr', 'topk'\]; the known ones are \['instance_on'"):
        FusionSettings.from_config(dict(topk=100, iou_thr=0.8))


@pytest.mark.parametrize(
    ('key', 'value', 'expected'),
    [
        ('max_per_image', 0, 'an integer of at least 1'),
        ('max_per_image', 1.5, 'an integer of at least 1'),
        ('score_thr', -0.1, SHARE),
        ('object_mask_thr', 1.5, SHARE),
        ('object_mask_thr', True, SHARE),
        ('overlap_thr', '0.8', SHARE),
        ('temperature', 0, 'None or above 0'),
        ('panoptic_on', 'yes', FLAG),
        ('instance_on', 1, FLAG),
    ],
)
def test_wrong_values_name_the_key(key, value, expected):
    with pytest.raises(ValueError, match=f'^{re.escape(f"test_cfg.{key} must be {expected}, got {value!r}")}$'):
        FusionSettings.from_config({key: value})


@pytest.mark.parametrize(
    ('key', 'value'), [('max_per_image', 1), ('score_thr', 0), ('overlap_thr', 1), ('temperature', None)]
)
def test_ends_of_the_ranges_are_allowed(key, value):
    assert getattr(FusionSettings.from_config({key: value}), key) == value


@pytest.mark.parametrize(
    ('test_cfg', 'message'),
    [
        (
            dict(instance_on=False),
            'test_cfg switches every result off: set instance_on, panoptic_on or semantic_on to True',
        ),
        *(
            (
                {'with_masks': False, key: True},
                'test_cfg: panoptic_on and semantic_on need masks, but with_masks is False; set with_masks=True for a '
                'model that predicts masks, or panoptic_on=False and semantic_on=False for a detection-only one',
            )
            for key in ('panoptic_on', 'semantic_on')
        ),
    ],
)
def test_what_cannot_work_together_is_rejected(test_cfg, message):
    with pytest.raises(ValueError, match=f'^{message}$'):
        FusionSettings.from_config(test_cfg)


def test_defaults():
    assert FusionSettings.from_config(None) == FusionSettings(
        instance_on=True,
        panoptic_on=False,
        semantic_on=False,
        with_masks=True,
        rle_masks=False,
        max_per_image=100,
        score_thr=0.0,
        object_mask_thr=0.25,
        overlap_thr=0.8,
        temperature=0.06,
        topk_before_stuff_removal=False,
        semantic_before_resize=False,
        box_margin=None,
        mask_box_weight=0.0,
    )
