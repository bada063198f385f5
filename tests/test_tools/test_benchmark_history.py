"""Rows of the benchmark's history, and what it says beside docs/performance.md."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

TOOL = 'analysis_tools/benchmark_history.py'


def seconds(total: float) -> dict:
    return dict(total=total, least=total, most=total, parts={})


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """What benchmark.py writes, shortened; numbers of no machine."""
    ours = dict(
        inference=seconds(1.234),
        training=seconds(2.0),
        crowded=seconds(3.0),
        memory=dict(model=100.0, peak=400.6),
        operations=7,
        waits=1,
    )
    found = dict(
        setting=dict(torch='9.9'),
        figures={'config.py': ours, 'DINO': ours | dict(operations=8)},
        aims={'inference / DINO': 0.501, 'training / DINO': 0.25},
    )
    path = tmp_path / 'benchmark.json'
    path.write_text(json.dumps(found))
    return path


@pytest.fixture
def history(tmp_path: Path, project_root: Path) -> Path:
    path = tmp_path / 'history.json'
    path.write_text((project_root / 'docs' / 'benchmark_history.json').read_text())
    return path


def test_a_row_is_added_and_drawn(run_tool, measured: Path, history: Path, tmp_path: Path) -> None:
    before = json.loads(history.read_text())
    arguments = ['--machine', 'a clock', '--revision', 'abc', '--history', history, '--picture', tmp_path / 'x.svg']
    assert run_tool(TOOL, measured, *arguments) == 0
    *others, row = json.loads(history.read_text())
    assert others == before
    assert row.pop('date').startswith('20')
    assert row == {
        'revision': 'abc',
        'machine': 'a clock, torch 9.9',
        'inference': 1.23,
        'training': 2.0,
        'crowded': 3.0,
        'memory': 301,
        'operations': 7,
        'waits': 1,
        'inference / DINO': 0.5,
        'training / DINO': 0.25,
    }
    assert 'abc' in (tmp_path / 'x.svg').read_text()
    assert 'has a row of abc' in run_tool(TOOL, measured, *arguments)
    assert len(json.loads(history.read_text())) == len(before) + 1


@pytest.mark.parametrize(
    ('content', 'message'),
    [('{"setting": {}, "size": {}}', 'without --sweep'), ('[]', 'without --sweep'), ('{', 'benchmark_history.py: ')],
)
def test_another_file(run_tool, history: Path, tmp_path: Path, content: str, message: str) -> None:
    before = history.read_text()
    (tmp_path / 'x.json').write_text(content)
    options = ['--machine', 'm', '--revision', 'abc', '--history', history, '--picture', tmp_path / 'x.png']
    assert message in run_tool(TOOL, tmp_path / 'x.json', *options)
    assert history.read_text() == before


def test_figures_need_a_machine(run_tool, measured: Path, capsys: pytest.CaptureFixture) -> None:
    assert run_tool(TOOL, measured) == 2
    assert '--machine is needed' in capsys.readouterr().err


def test_the_document_says_what_was_measured_last(project_root: Path) -> None:
    rows = json.loads((project_root / 'docs' / 'benchmark_history.json').read_text())
    assert len({row['revision'] for row in rows}) == len(rows)
    assert [row['date'] for row in rows] == sorted(row['date'] for row in rows)
    last = {key: value for row in rows for key, value in row.items()}
    text = (project_root / 'docs' / 'performance.md').read_text()
    places = {
        'inference': r'\| inference \| ([\d.]+) s',
        'training': r'\| training step \| ([\d.]+) s',
        'crowded': r'\| training step with 100 objects per image \| ([\d.]+) s',
        'memory': r'\| peak memory of the training step over the model \| ([\d.]+) MiB',
        'operations': r'\| ATen operations of the training step \| (\d+) ',
        'waits': r'\| times the CPU waits in it, as on a GPU \| (\d+) ',
        'inference / DINO': r'\| inference / DINO \| ([\d.]+) ',
        'training / DINO': r'\| training step / DINO \| ([\d.]+) ',
    }
    assert {name: float(re.search(place, text)[1]) for name, place in places.items()} == {
        name: last[name] for name in places
    }
