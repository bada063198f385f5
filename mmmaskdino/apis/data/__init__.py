"""What is in a dataset, what is wrong with it, and a config that trains on it."""

from .checking import SplitSummary, check_split
from .comparison import choose_parts, compare_parts, find_differences, find_doubled_parts, find_unused_classes
from .config_text import TrainingPlan, write_config
from .layout import Split, find_splits, name_parts
from .report import draw_summaries, format_remarks, format_summary
from .small_recipe import SmallRecipe, choose_recipe
from .splitting import SplitPart, divide_annotations

__all__ = [
    'SmallRecipe',
    'Split',
    'SplitPart',
    'SplitSummary',
    'TrainingPlan',
    'check_split',
    'choose_parts',
    'choose_recipe',
    'compare_parts',
    'divide_annotations',
    'draw_summaries',
    'find_differences',
    'find_doubled_parts',
    'find_splits',
    'find_unused_classes',
    'format_remarks',
    'format_summary',
    'name_parts',
    'write_config',
]
