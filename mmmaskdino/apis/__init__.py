"""What a user's script calls."""

from .launch import build_runner, load_config, prepare_launcher, process_group

__all__ = ['build_runner', 'load_config', 'prepare_launcher', 'process_group']
