"""The checked ``test_cfg`` of the fusion head."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Real


@dataclass(frozen=True)
class FusionSettings:
    """What the fusion head returns and its thresholds: the keys of ``test_cfg``, checked once.

    Args:
        instance_on (bool): Return instances (boxes, scores, labels and masks).
        panoptic_on (bool): Return a panoptic segmentation.
        semantic_on (bool): Return a semantic segmentation.
        with_masks (bool): False leaves instances without masks, as a detection-only model must; their score is then
            the class score alone.
        rle_masks (bool): Return the instances' masks as a list of COCO run-length codes, which the evaluation reads as
            well, instead of as (n, H, W) bool. They are made a few at a time: 300 masks of 4000 x 6000 pixels are
            6.7 GiB as bool.
        max_per_image (int): Most instances of an image.
        score_thr (float): Instances whose final score is below this are dropped, in [0, 1].
        object_mask_thr (float): Panoptic: queries whose class score is not above this are left out, in [0, 1].
            Semantic, with ``box_margin``: masks of things whose class score is above this are cut.
        overlap_thr (float): Panoptic: a segment that keeps less than this share of its own mask is dropped, in [0, 1].
        temperature (float | None): Panoptic and semantic: class scores become softmax(sigmoid(logits) / temperature);
            None leaves them as they are. Softmax models have no such step.
        topk_before_stuff_removal (bool): True takes the best ``max_per_image`` (query, class) pairs of all classes and
            then drops the stuff (as the released models were measured); False chooses among things only.
        semantic_before_resize (bool): True adds the queries up at the padded size, then crops and resizes class maps
            (as the released semantic-only models were measured); False resizes masks first.
        box_margin (float | None): Masks of things are background outside of their query's box, grown by this share of
            its width and height on each side (:func:`cut_to_boxes`); None leaves them whole, as in the paper.
        mask_box_weight (float): Instances: boxes are the mean of the predicted one and the one around the mask, which
            has this weight, in [0, 1] (:func:`join_with_masks`); 0 leaves them as predicted, as in the paper.
    """

    instance_on: bool = True
    panoptic_on: bool = False
    semantic_on: bool = False
    with_masks: bool = True
    rle_masks: bool = False
    max_per_image: int = 100
    score_thr: float = 0.0
    object_mask_thr: float = 0.25
    overlap_thr: float = 0.8
    temperature: float | None = 0.06
    topk_before_stuff_removal: bool = False
    semantic_before_resize: bool = False
    box_margin: float | None = None
    mask_box_weight: float = 0.0

    @classmethod
    def from_config(cls, test_cfg: Mapping | None) -> 'FusionSettings':
        """Read the settings from a config.

        Args:
            test_cfg (Mapping | None): Any of the keys above; None for all defaults.

        Raises:
            ValueError: For a key that does not exist or a value out of its range.
        """
        test_cfg = {} if test_cfg is None else dict(test_cfg)
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(test_cfg) - set(known))
        if unknown:
            raise ValueError(f'test_cfg of the fusion head has unknown keys {unknown}; the known ones are {known}')
        return cls(**test_cfg)

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.type is bool:
                self._check(field.name, lambda value: isinstance(value, bool), 'True or False')
        for key in ('score_thr', 'object_mask_thr', 'overlap_thr', 'mask_box_weight'):
            self._check(key, lambda value: _is_number(value) and 0 <= value <= 1, 'a number in [0, 1]')
        self._check('max_per_image', lambda value: type(value) is int and value >= 1, 'an integer of at least 1')
        self._check(
            'box_margin', lambda value: value is None or (_is_number(value) and value >= 0), 'None or at least 0'
        )
        self._check('temperature', lambda value: value is None or (_is_number(value) and value > 0), 'None or above 0')
        if not (self.instance_on or self.panoptic_on or self.semantic_on):
            raise ValueError('test_cfg switches every result off: set instance_on, panoptic_on or semantic_on to True')
        if not self.with_masks and (self.panoptic_on or self.semantic_on):
            raise ValueError(
                'test_cfg: panoptic_on and semantic_on need masks, but with_masks is False; set with_masks=True for a '
                'model that predicts masks, or panoptic_on=False and semantic_on=False for a detection-only one'
            )

    def _check(self, key: str, is_valid, expected: str) -> None:
        value = getattr(self, key)
        if not is_valid(value):
            raise ValueError(f'test_cfg.{key} must be {expected}, got {value!r}')


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
