"""What is in a dataset, what is wrong with it, and a config that trains on it."""

from .checking import SplitSummary, check_split
from .config_text import TrainingPlan, write_config
from .layout import Split, find_splits
from .report import draw_summaries, format_summary

__all__ = [
    'Split',
    'SplitSummary',
    'TrainingPlan',
    'check_split',
    'draw_summaries',
    'find_splits',
    'format_summary',
    'write_config',
]
