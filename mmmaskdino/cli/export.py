from mmmaskdino.export import command
from mmmaskdino.export.command import add_arguments, run

__doc__ = command.__doc__
__all__ = ['add_arguments', 'run']
