from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmmaskdino.apis import load_config, prepare_launcher, process_group

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


def test_misspelt_key_is_refused_with_the_right_one(config_file: Path) -> None:
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


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
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
