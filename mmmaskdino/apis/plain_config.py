"""Configs whose texts stay texts when a run saves them."""

from __future__ import annotations

from mmengine.config import Config

from mmmaskdino.plain_text import without_templates


class PlainConfig(Config):
    """A config whose text, as it is saved with a run and in checkpoints, reads back as the same values."""

    @classmethod
    def of(cls, cfg: Config) -> PlainConfig:
        """The same config, of this class; the values are shared."""
        plain = cls.__new__(cls)
        plain.__setstate__(cfg.__getstate__())
        return plain

    @property
    def pretty_text(self) -> str:
        """The config as Python code."""
        return without_templates(super().pretty_text)
