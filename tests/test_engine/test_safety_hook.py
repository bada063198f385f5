from types import SimpleNamespace

from mmengine.config import Config
from mmengine.hooks import EMAHook

from mmmaskdino.engine import NonFiniteHook, StopSignalHook

SAFETY = {'ClassCountCheckHook', 'ClassMatchingHook', 'BoundedHistoryHook', 'NonFiniteHook', 'StopSignalHook'}


def test_the_last_one_built_takes_the_place_of_the_others() -> None:
    default, other, own = NonFiniteHook(), StopSignalHook(), NonFiniteHook(action='stop')
    runner = SimpleNamespace(hooks=[own, default, other])  # by priority, not in the order of building
    runner._hooks = runner.hooks
    for hook in runner.hooks:
        hook.before_run(runner)
        runner.hooks = runner._hooks
    assert runner.hooks == [own, other]


def test_a_subclass_takes_the_place_of_its_base() -> None:
    class OwnHook(NonFiniteHook):
        pass

    default, own, ema = NonFiniteHook(), OwnHook(), EMAHook()
    runner = SimpleNamespace(hooks=[default, own, ema])
    own.before_run(runner)
    assert runner._hooks == [own, ema]


def test_own_hooks_of_a_config_drop_none_of_them(project_root, tmp_path) -> None:
    for folder, base in (('maskdino', 'r50_coco_instance'), ('maskdino', 'swin-l_ade20k_semantic')):
        path = project_root / 'configs' / folder / f'maskdino_{base}.py'
        own = tmp_path / f'{base}.py'
        own.write_text(f"_base_ = '{path}'\ncustom_hooks = [dict(type='CompileHook')]\n")
        cfg = Config.fromfile(own)
        assert {hook.type for hook in cfg.default_hooks.values()} >= SAFETY
        assert [hook.type for hook in cfg.custom_hooks] == ['CompileHook']
