"""The command `mmmaskdino`. Outside the package, whose import takes seconds and rejects an incomplete installation:
`mmmaskdino --help` and `mmmaskdino doctor` have to work without it.
"""

import importlib.util
import sys


def main() -> int:
    """Run the command line of the shell and return the exit status."""
    if 'mmmaskdino' not in sys.modules:
        # Not executed yet, but its modules can be imported; mmmaskdino.cli.main executes it before work begins.
        sys.modules['mmmaskdino'] = importlib.util.module_from_spec(importlib.util.find_spec('mmmaskdino'))
    from mmmaskdino.cli.main import main as run

    return run()


if __name__ == '__main__':
    sys.exit(main())
