"""Models by name: the table of weights, fetching them, and what stands for a model wherever one is asked for.

Imports no torch: a name that is mistyped, a file that is missing or a list of all models take no seconds.
"""

from .cache import cached_model, fetch_model, local_weights
from .download import FetchError
from .resolve import ModelFiles, find_config, find_start, find_weights, resolve_model
from .table import Entry, find_entry, read_table

__all__ = [
    'Entry',
    'FetchError',
    'ModelFiles',
    'cached_model',
    'fetch_model',
    'find_config',
    'find_entry',
    'find_start',
    'find_weights',
    'local_weights',
    'read_table',
    'resolve_model',
]
