"""Where sharding is imported; trainings with it are in tests/test_robustness/test_sharded.py."""

from __future__ import annotations

import subprocess
import sys

import pytest
from mmengine.registry import STRATEGIES

from mmmaskdino import engine

# As in a version of mmengine, or a build of torch, that does not have it.
WITHOUT = """
import sys
sys.modules['mmengine._strategy.fsdp'] = None
import mmmaskdino
from mmengine.registry import STRATEGIES
assert 'mmmaskdino.engine.sharding' not in sys.modules
try:
    STRATEGIES.build(dict(type='ShardedStrategy'))
except ImportError as error:
    assert 'FSDPStrategy' in str(error), error
else:
    sys.exit('built')
"""


def test_a_run_without_sharding_does_without_its_modules() -> None:
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', WITHOUT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_config_asks_for_it_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from mmmaskdino.engine.sharding import ShardedStrategy

    assert engine.ShardedStrategy is STRATEGIES.get('ShardedStrategy') is ShardedStrategy
    monkeypatch.setattr('mmmaskdino.engine.sharding._check_streams', lambda: None)
    assert isinstance(STRATEGIES.build(dict(type='ShardedStrategy', state_dict_cfg='full')), ShardedStrategy)
    with pytest.raises(TypeError, match='unknown'):
        STRATEGIES.build(dict(type='ShardedStrategy', unknown=1))


def test_other_names_are_not_there() -> None:
    assert not hasattr(engine, 'UnknownStrategy')
