"""AblatedCriterion: the losses without those that an ablation of the paper leaves out."""

from typing import Any

from mmdet.registry import MODELS
from torch import Tensor

from mmmaskdino.models.losses import MaskDINOCriterion


@MODELS.register_module()
class AblatedCriterion(MaskDINOCriterion):
    """:class:`MaskDINOCriterion` with masks supervised in a part of the stages only (paper, table 15).

    Matching is the same: also the masks of the encoder's stage count in its costs.

    Args:
        encoder_masks (bool): Whether the stage of the query selection has mask losses (unified query selection).
        denoising_masks (bool): Whether the denoising queries have them (unified denoising).
        criterion: The arguments of :class:`MaskDINOCriterion`.
    """

    def __init__(self, *, encoder_masks: bool = True, denoising_masks: bool = True, **criterion: Any) -> None:
        super().__init__(**criterion)
        self.encoder_masks, self.denoising_masks = encoder_masks, denoising_masks

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Named losses; arguments and names as of :class:`MaskDINOCriterion`."""
        losses = super().forward(*args, **kwargs)
        return {name: value for name, value in losses.items() if not self._is_left_out(name)}

    def _is_left_out(self, name: str) -> bool:
        if not name.endswith(('loss_mask', 'loss_dice')):
            return False
        of_encoder, of_denoising = name.startswith('enc_'), 'dn_' in name
        return (of_encoder and not self.encoder_masks) or (of_denoising and not self.denoising_masks)
