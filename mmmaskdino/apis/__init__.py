"""What a user's script calls."""

from .launch import add_run_arguments, build_runner, load_config, prepare_launcher, process_group

__all__ = ['add_run_arguments', 'build_runner', 'load_config', 'prepare_launcher', 'process_group']
