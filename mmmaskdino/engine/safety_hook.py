"""Hooks of the base configs that a run has once, whatever else its config lists."""

import itertools
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

_NUMBERS = itertools.count()


class SafetyHook(Hook):
    """A hook of which a run needs one.

    The base configs have them in `default_hooks`, which survive a config's own `custom_hooks`. Where `custom_hooks`
    list one all the same, as configs did before, or a subclass of it, that takes the place of the default.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> 'SafetyHook':
        hook = super().__new__(cls)
        hook._number = next(_NUMBERS)
        return hook

    def before_run(self, runner: Runner) -> None:
        """Take the place of those of this class that were built before.

        Args:
            runner: The runner.
        """
        # A new list, since the runner is going through the old one.
        runner._hooks = [hook for hook in runner.hooks if not self._replaces(hook)]

    def _replaces(self, hook: Hook) -> bool:
        is_older = isinstance(hook, SafetyHook) and hook._number < self._number
        return is_older and isinstance(self, type(hook))
