import mmap
import multiprocessing
import time

import pytest
from measuring.resources import Resources, find_leaks, look


def looks(**growth: float) -> list[Resources]:
    """Ten looks; the fields named grow by that much from one to the next."""
    start = dict(memory=1000.0, workers_memory=500.0, open_files=20, threads=4, children=1, temporary_files=3)
    return [Resources(n, **{name: value + n * growth.get(name, 0) for name, value in start.items()}) for n in range(10)]


def test_what_grows_is_found() -> None:
    assert find_leaks(looks(), warm_up=1) == []
    assert find_leaks(looks(memory=1.0, temporary_files=1), warm_up=1) == []
    (line,) = find_leaks(looks(memory=10.0), warm_up=1)
    assert line == 'memory grew from 1035.0 to 1075.0 MiB, 3.9%'
    assert find_leaks(looks(memory=10.0), warm_up=1, max_growth=0.05) == []
    for name in ('workers_memory', 'open_files', 'threads', 'children'):
        (line,) = find_leaks(looks(**{name: 5}), warm_up=1)
        assert line.startswith(f'{name} grew from')


def test_the_warm_up_does_not_count() -> None:
    history = looks()
    history[0] = history[0]._replace(memory=1.0, open_files=1)
    assert find_leaks(history, warm_up=0) == []
    with pytest.raises(ValueError, match='expected at least 4 looks after the warm-up of 6 iterations, got 3'):
        find_leaks(history, warm_up=6)


def test_look(tmp_path) -> None:
    multiprocessing.active_children()  # lets go of processes that earlier tests started and that have ended
    before = look(7)
    assert before.iteration == 7 and before.memory > 10 and before.threads >= 1
    file = open(tmp_path / 'a', 'w')  # noqa: SIM115
    child = multiprocessing.get_context('fork').Process(target=time.sleep, args=(60,))
    child.start()
    after = look()
    child.kill()
    child.join()
    file.close()
    assert after.open_files > before.open_files
    assert after.children == before.children + 1 and after.workers_memory > before.workers_memory
    with mmap.mmap(-1, 2**26) as block:  # memory from malloc may be what an earlier test has freed
        block.write(b'1' * len(block))
        assert look().memory > before.memory + 50
