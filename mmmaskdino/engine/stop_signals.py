"""Signals that ask a process to end, and the certainty that it does."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from mmmaskdino.engine.worker_processes import end_workers

DEFAULT_SIGNALS = ('SIGTERM', 'SIGINT', 'SIGHUP')
GRACE = 25.0  # seconds; launchers and clusters kill after 30
_AGAIN = 1.0  # seconds; a SIGINT sooner is the same one, which came to the group and to the process
_STOPPED = b'\0'  # no signal has this number


class StopSignals:
    """Listens to the signals that ask this process to end; only the first counts, but a second Ctrl-C ends at once.

    Signals that are ignored when listening begins stay ignored, as `nohup` wants it.

    Args:
        names: Of the signals; those that the system does not have are left out.
        on_first: Called in the main thread with the number of the first signal. It may raise.
        grace: Seconds after a signal until the process is ended in any case, also where Python code cannot react
            because it waits for another process; None for no limit.
    """

    def __init__(
        self, names: Sequence[str], on_first: Callable[[int], None] = lambda number: None, grace: float | None = GRACE
    ) -> None:
        self.numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
        self.on_first = on_first
        self.grace = grace
        self.received = 0
        self._since = 0.0
        self._previous: dict[int, Any] = {}
        self._previous_fd = -1
        self._writer: int | None = None
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin to listen; nothing outside the main thread, where Python allows no handlers."""
        if threading.current_thread() is not threading.main_thread():
            return
        heard = [number for number in self.numbers if signal.getsignal(number) not in (signal.SIG_IGN, None)]
        self._previous = {number: signal.signal(number, self._receive) for number in heard}
        if heard and self.grace is not None:
            reader, self._writer = os.pipe()
            os.set_blocking(self._writer, False)
            # Written to as soon as a signal arrives, while handlers wait until the main thread runs Python code.
            self._previous_fd = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
            threading.Thread(target=self._watch, args=(reader, self.grace), daemon=True).start()

    def stop(self) -> None:
        """Leave the signals to those who had them before, and the process its time to end."""
        self._stopped.set()
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
        if self._writer is not None:
            signal.set_wakeup_fd(self._previous_fd)
            with suppress(BrokenPipeError):  # the thread has ended after a signal
                os.write(self._writer, _STOPPED)  # workers have the pipe open, too, so closing it is not enough
            os.close(self._writer)
            self._writer = None

    @property
    def is_listening(self) -> bool:
        """Whether any signal is listened to."""
        return bool(self._previous)

    def leave(self) -> NoReturn:
        """Raise what ends the process as the signal asks: with the status 128 + its number, as in a shell."""
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + self.received)

    def _receive(self, number: int, frame: Any) -> None:
        if not self.received:
            self.received, self._since = number, time.monotonic()
            self.on_first(number)
        elif number == signal.SIGINT and time.monotonic() - self._since > _AGAIN:
            raise KeyboardInterrupt

    def _watch(self, reader: int, grace: float) -> None:
        number = 0
        while number not in self.numbers:
            number = os.read(reader, 1)[0]
            if number == _STOPPED[0]:
                break
        else:
            name = signal.Signals(number).name
            _end_unless(self._stopped, grace, 128 + number, f'not ended {grace:g} s after {name}: ended by force')
        os.close(reader)


@contextmanager
def within(seconds: float, status: int) -> Iterator[None]:
    """End the process with `status` if the work inside, which cleans up, takes longer than some seconds."""
    done = threading.Event()
    threading.Thread(target=_end_unless, args=(done, seconds, status), daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _end_unless(done: threading.Event, seconds: float, status: int, message: str = '') -> None:
    if done.wait(seconds):
        return
    if message:
        print(message, file=sys.stderr, flush=True)
    end_workers(1.0)
    os._exit(status)
