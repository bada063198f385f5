"""Signals that ask a process to end."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from mmmaskdino.engine import StopSignalHook
from mmmaskdino.engine.stopping import StopSignals, within


@pytest.fixture
def listen() -> Callable[..., StopSignals]:
    """Makes listeners, which stop after the test."""
    listeners = []

    def _listen(*args, **kwargs) -> StopSignals:
        listeners.append(StopSignals(*args, **kwargs))
        listeners[-1].start()
        return listeners[-1]

    yield _listen
    for listener in listeners:
        listener.stop()


def send(name: str) -> None:
    signal.raise_signal(getattr(signal, name))  # to this thread: kill may give it to another, which takes a moment


def test_the_first_signal_counts(listen) -> None:
    received = []
    listener = listen(('SIGTERM', 'SIGHUP'), received.append)
    send('SIGHUP')
    send('SIGTERM')
    assert received == [signal.SIGHUP] == [listener.received]
    with pytest.raises(SystemExit, match='129'):
        listener.leave()


def test_a_second_interruption_ends_at_once(listen, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = listen(('SIGINT',))
    send('SIGINT')
    send('SIGINT')  # the same one, sent to the group and to the process
    later = time.monotonic() + 2
    monkeypatch.setattr(time, 'monotonic', lambda: later)
    with pytest.raises(KeyboardInterrupt):
        send('SIGINT')
    with pytest.raises(KeyboardInterrupt):
        listener.leave()


def test_ignored_signals_stay_ignored(listen) -> None:
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        listener = listen(('SIGHUP', 'SIGTERM'))
        send('SIGHUP')
        assert listener.received == 0 and listener.is_listening
    finally:
        signal.signal(signal.SIGHUP, previous)


def test_handlers_and_thread_are_gone_afterwards(listen) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    threads = set(threading.enumerate())
    listener = listen(('SIGTERM', 'SIGINT'))
    (thread,) = set(threading.enumerate()) - threads
    assert listener.is_listening
    listener.stop()
    thread.join(timeout=60)
    assert not thread.is_alive() and not listener.is_listening
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_outside_the_main_thread_nothing_is_heard() -> None:
    listener = StopSignals(('SIGTERM',))
    thread = threading.Thread(target=listener.start)
    thread.start()
    thread.join()
    assert not listener.is_listening


def test_cleaning_up_has_a_limit() -> None:
    code = (
        'import time\nfrom mmmaskdino.engine.stopping import within\nwith within(0.1, status=7):\n    time.sleep(60)\n'
    )
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 7
    with within(0.05, status=7):
        pass
    time.sleep(0.1)  # this process goes on


def test_unknown_signals_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"SIGUSR1, got \['USR1'\]"):
        StopSignalHook(signals=('SIGTERM', 'USR1'))
