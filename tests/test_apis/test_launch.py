from __future__ import annotations

import os
import signal
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmmaskdino.apis import guarded_run, load_config, prepare_launcher, process_group

CONFIG = """
data_root = 'data/'
model = dict(type='Toy', num_classes=3)
train_dataloader = dict(batch_size=2, dataset=dict(data_root=data_root))
"""


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / 'toy_shapes.py'
    path.write_text(CONFIG)
    return path


def test_options_reach_the_config(config_file: Path) -> None:
    cfg = load_config(config_file, {'train_dataloader.batch_size': 4, 'model.num_classes': 7})
    assert cfg.train_dataloader.batch_size == 4
    assert cfg.model.num_classes == 7
    assert cfg.train_dataloader.dataset.data_root == 'data/'


def test_new_keys_that_mmengine_reads_may_be_added(config_file: Path, recwarn: pytest.WarningsRecorder) -> None:
    cfg = load_config(config_file, {'load_from': 'a.pth', 'randomness.seed': 3, 'find_unused_parameters': True})
    assert (cfg.load_from, cfg.randomness.seed, cfg.find_unused_parameters) == ('a.pth', 3, True)
    assert not recwarn.list


def test_misspelt_key_is_rejected_with_the_right_one(config_file: Path) -> None:
    with pytest.raises(ValueError, match='train_dataloadr.batch_size: .*did you mean train_dataloader'):
        load_config(config_file, {'train_dataloadr.batch_size': 4})
    with pytest.raises(ValueError, match='did you mean randomness'):
        load_config(config_file, {'randomnes.seed': 4})


def test_variable_of_the_file_gets_a_warning(config_file: Path) -> None:
    with pytest.warns(UserWarning, match="'data_root' is a variable"):
        cfg = load_config(config_file, {'data_root': 'elsewhere/'})
    assert cfg.train_dataloader.dataset.data_root == 'data/'  # which is why there is a warning


def test_missing_config_names_the_nearest(config_file: Path) -> None:
    with pytest.raises(ValueError, match=r'toy_shape.py does not exist; did you mean toy_shapes.py\?'):
        load_config(config_file.with_name('toy_shape.py'))
    with pytest.raises(ValueError, match='does not exist'):
        load_config(config_file.parent / 'nowhere' / 'toy.py')


def test_work_dir_of_the_command_line_then_of_the_config_then_by_name(config_file: Path) -> None:
    assert load_config(config_file).work_dir == str(Path('work_dirs/toy_shapes'))
    config_file.write_text(CONFIG + "work_dir = 'mine'\n")
    assert load_config(config_file).work_dir == 'mine'
    assert load_config(config_file, work_dir='other').work_dir == 'other'


@pytest.mark.parametrize('launcher', ['slurm', 'mpi'])
def test_cluster_launchers_need_accelerators(monkeypatch: pytest.MonkeyPatch, launcher: str) -> None:
    monkeypatch.setattr('mmmaskdino.apis.launch.get_device', lambda: 'cpu')
    with pytest.raises(ValueError, match=f'--launcher {launcher} needs accelerators'):
        prepare_launcher(Config(), launcher)


def test_more_processes_than_gpus_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('mmmaskdino.apis.launch.get_device', lambda: 'cuda')
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '4')
    with pytest.raises(ValueError, match='2 GPUs are visible, 4 processes'):
        prepare_launcher(Config(), 'pytorch')
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '2')
    cfg = Config()
    prepare_launcher(cfg, 'pytorch')
    assert cfg.launcher == 'pytorch'
    assert 'model_wrapper_cfg' not in cfg


def test_the_process_group_is_left() -> None:
    for error in (None, ValueError):
        store = torch.distributed.HashStore()
        with pytest.raises(error) if error else nullcontext(), process_group():
            torch.distributed.init_process_group('gloo', store=store, rank=0, world_size=1)
            if error:
                raise error
        assert not torch.distributed.is_initialized()


def test_without_a_process_group_nothing_is_left() -> None:
    with process_group():
        assert not torch.distributed.is_initialized()


def test_cpus_have_no_sync_bn(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('mmmaskdino.apis.launch.get_device', lambda: 'cpu')
    monkeypatch.setattr('torch.distributed.init_process_group', lambda *args, **kwargs: None)
    cfg = load_config(config_file, {'sync_bn': 'torch'})
    with pytest.warns(UserWarning, match='sync_bn needs GPUs'):
        prepare_launcher(cfg, 'pytorch')
    assert 'sync_bn' not in cfg and cfg.env_cfg.dist_cfg.backend == 'gloo'


@pytest.mark.parametrize('name', ['train_dataloader', 'val_dataloader', 'test_dataloader'])
def test_loaders_without_workers_need_no_other_change(config_file: Path, name: str) -> None:
    loader = "dict(num_workers=2, persistent_workers=True, prefetch_factor=4, dataset=dict(type='Toy'))"
    config_file.write_text(f'{CONFIG}\n{name} = {loader}\n')
    assert load_config(config_file)[name].persistent_workers
    assert load_config(config_file, {f'{name}.num_workers': 0})[name] == dict(num_workers=0, dataset=dict(type='Toy'))


def test_any_hook_can_be_taken_out(config_file: Path) -> None:
    config_file.write_text(f"{CONFIG}\ndefault_hooks = dict(timer=None, stop_signal=dict(type='StopSignalHook'))\n")
    cfg = load_config(config_file, {'default_hooks.stop_signal': None})
    assert cfg.default_hooks == dict(timer=None)  # which mmengine itself takes out


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('model = dict(', r'toy_shapes.py, or a config that it is based on: line \d+: '),
        ('model = nothing', "toy_shapes.py cannot be read: NameError: name 'nothing' is not defined"),
        ("custom_imports = dict(imports=['no_such_module'])", 'toy_shapes.py cannot be read: .*no_such_module'),
        ("_base_ = 'no_such_base.py'", "no_such_base.py'$"),
        ("_base_ = 'maskdino_r50_coco_instance'", r"write _base_ = .*find_config\('maskdino_r50_coco_instance'\)\)$"),
        ("_base_ = 'sub/maskdino_r50_coco_instance.py'", r"find_config\('maskdino_r50_coco_instance'\)\)$"),
    ],
)
def test_a_config_that_cannot_be_read_is_named(config_file: Path, text: str, said: str) -> None:
    config_file.write_text(text)
    with pytest.raises(ValueError, match=said):
        load_config(config_file)


def test_signals_end_what_runs_in_good_order(capsys: pytest.CaptureFixture) -> None:
    for name in ('SIGTERM', 'SIGHUP'):
        number = getattr(signal, name)
        before = signal.getsignal(number)
        with pytest.raises(SystemExit, match=str(128 + number)), guarded_run():
            os.kill(os.getpid(), number)
        assert signal.getsignal(number) is before
        assert capsys.readouterr().err == f'{name} received: the run ends\n'
