"""What is made of the seconds of several ways to predict."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from measuring.stopwatch import Stopwatch
from measuring.throughput import DET_INFERENCER, Run, format_table, summarize, take_turns, timed


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    """Stands still until `now` is set."""
    clock = SimpleNamespace(now=0.0)
    times = SimpleNamespace(perf_counter=lambda: clock.now, process_time=lambda: 2 * clock.now)
    monkeypatch.setattr('measuring.stopwatch.time', times)
    monkeypatch.setattr('measuring.throughput.time', times)
    return clock


class Loop:
    """An image takes 1 second, the model 10 of which its results are 4, and each result 100 to write."""

    def __init__(self, clock: SimpleNamespace) -> None:
        self.clock, self.closed = clock, False

    def pass_seconds(self, seconds: float) -> None:
        self.clock.now += seconds

    def results(self) -> None:
        self.pass_seconds(4)

    def model(self) -> int:
        self.pass_seconds(6)
        self.results()
        return 1

    def predict(self, num_images: int) -> Iterator[int]:
        try:
            for _ in range(num_images):
                self.pass_seconds(1)
                yield self.model()
        finally:
            self.closed = True

    def work(self) -> int:
        num_objects = 0
        for found in self.predict(3):
            num_objects += found
            self.pass_seconds(100)
        return num_objects


def test_the_seconds_of_a_loop_by_part(clock) -> None:
    loop, stopwatch = Loop(clock), Stopwatch()
    stopwatch.watch(loop, 'results', 'results')
    stopwatch.watch(loop, 'model', 'model')
    stopwatch.watch_items(loop, 'predict', 'images')
    run = timed(loop.work, stopwatch)
    assert run == Run(333, 666, 3, dict(images=3, model=18, results=12, rest=300))
    assert timed(loop.work, stopwatch).parts == run.parts, 'the second time as the first'
    with pytest.raises(AttributeError):
        stopwatch.watch(loop, 'nothing', 'model')


def test_a_watched_generator_is_closed_with_its_watch(clock) -> None:
    loop = Loop(clock)
    Stopwatch().watch_items(loop, 'predict', 'images')
    items = loop.predict(3)
    next(items)
    items.close()
    assert loop.closed


def run_of(seconds: float, objects: int = 6) -> Run:
    return Run(
        seconds, 2 * seconds, objects, dict(images=seconds / 4, model=seconds / 2, results=seconds / 4, rest=0.0)
    )


def test_medians_and_ratios_of_the_same_round() -> None:
    """The first round does not count; a slow round slows both down."""
    ours, theirs = [run_of(x) for x in (90, 1, 10, 2)], [run_of(x) for x in (5, 2, 30, 4)]
    figure = summarize({DET_INFERENCER: theirs, 'ours': ours}, num_images=3)['ours']
    assert figure['images_per_second'] == 3 / 2
    assert (figure['ratio'], figure['least'], figure['most']) == (2, 2, 3)
    assert figure['cpu_seconds'] == 4 / 3 and figure['parts']['model'] == 1 / 3
    assert figure['objects'] == 2 and figure['first_seconds'] == 90
    assert format_table({'ours': figure}).splitlines()[-1] == (
        '| ours | 1.50 | 2.00 (2.00 to 3.00) | 1333 ms | 167 ms | 333 ms | 167 ms | 0 ms | 2.0 | 90.0 s |'
    )


def test_ways_take_turns_in_empty_folders() -> None:
    order = []

    def way(name: str):
        def run(out: Path) -> Run:
            assert not list(out.iterdir())
            (out / 'file').touch()
            order.append(name)
            return run_of(len(order))

        return run

    runs = take_turns(dict(a=way('a'), b=way('b')), rounds=1)
    assert order == ['a', 'b', 'a', 'b']
    assert [run.seconds for run in runs['b']] == [2, 4]
