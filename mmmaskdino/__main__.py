"""python -m mmmaskdino: the command line where the script `mmmaskdino` is not on the path."""

import sys

from mmmaskdino.cli.main import main

sys.exit(main())
