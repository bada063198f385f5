"""Progress bars that keep quiet where nobody watches."""

import sys
from collections.abc import Callable
from typing import Any, TextIO

from tqdm import tqdm

QUIET_SECONDS = 30  # between two lines in a log file


class Progress(tqdm):
    """A progress bar of tqdm in a terminal; elsewhere, as in a log file, a line of text every half minute.

    Arguments are those of tqdm.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        file = kwargs.setdefault('file', sys.stderr)
        kwargs.setdefault('dynamic_ncols', True)
        if kwargs.get('desc'):
            kwargs['desc'] += ': '
        if not file.isatty():
            kwargs.update(
                mininterval=QUIET_SECONDS,
                delay=QUIET_SECONDS,
                bar_format='{desc}{n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]',
            )
        super().__init__(*args, **kwargs)

    def close(self) -> None:
        """End the bar. A log file gets a last line if there was one before."""
        if not self.disable and not self.fp.isatty():
            if self.last_print_t >= self.start_t + self.delay:
                self.sp(str(self))
            self.delay = float('inf')  # tqdm would end the line once more
        super().close()

    @staticmethod
    def status_printer(file: TextIO) -> Callable[[str], None]:
        """What writes a state of the bar; called by tqdm."""
        if file.isatty():
            return tqdm.status_printer(file)

        def print_line(text: str) -> None:
            if text.strip():
                print(text.strip(), file=file, flush=True)

        return print_line


def print_beside(text: str) -> None:
    """Print a line to the standard output, above the bars of a terminal."""
    if sys.stderr.isatty():
        Progress.write(text, file=sys.stdout)
    else:
        print(text)


def progress_callback(unit: str = 'image') -> Callable[[int, int], None]:
    """A function that shows the progress of work whose length becomes known only when the first part is done.

    Args:
        unit: What is counted.

    Returns:
        Takes the number done and the number of all; to be called after each part.
    """
    bar = Progress(unit=unit)  # now: the time of the first part counts

    def show(done: int, total: int) -> None:
        bar.total = total or None
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return show
