"""Sliding windows: the checked ``test_cfg`` of a segmentor, and where the windows lie."""

from collections.abc import Mapping
from typing import NamedTuple

from mmmaskdino.structures import Shape

KEYS = dict(whole={'mode'}, slide={'mode', 'crop_size', 'stride'})


class WindowSettings(NamedTuple):
    """Sizes in pixels, (height, width)."""

    crop_size: Shape
    stride: Shape

    @classmethod
    def from_config(cls, test_cfg: Mapping | None) -> 'WindowSettings | None':
        """Read a ``test_cfg``.

        Args:
            test_cfg (Mapping | None): ``mode='whole'`` or ``mode='slide'`` with ``crop_size`` and ``stride``.

        Returns:
            WindowSettings | None: None for whole images.

        Raises:
            ValueError: If a key is unknown or missing, or windows would leave gaps.
        """
        test_cfg = dict(test_cfg or dict(mode='whole'))
        mode = test_cfg.get('mode', 'whole')
        if mode not in KEYS:
            raise ValueError(f"test_cfg.mode must be 'whole' or 'slide', got {mode!r}")
        if {'mode', *test_cfg} != KEYS[mode]:
            raise ValueError(f'test_cfg with mode={mode!r} has the keys {sorted(KEYS[mode])}, got {sorted(test_cfg)}')
        if mode == 'whole':
            return None
        settings = cls(*(tuple(test_cfg[key]) for key in cls._fields))
        settings._check()
        return settings

    def _check(self) -> None:
        for crop, stride in zip(self.crop_size, self.stride, strict=True):
            if not 0 < stride <= crop:
                raise ValueError(
                    f'test_cfg: windows of {self.crop_size} with stride {self.stride} leave gaps; '
                    'the stride must be at least 1 and at most crop_size'
                )


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """First pixels of the windows that cover a length; the last window ends with it."""
    last = max(length - window, 0)
    return [*range(0, last, stride), last]
