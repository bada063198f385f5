import json
import subprocess
from pathlib import Path

import pytest
from mmengine.config import Config

CONFIGS = Path(__file__).parents[2] / 'configs' / 'maskdino'
INSTANCE, DETECTION = (CONFIGS / f'maskdino_r18_shapes_{task}.py' for task in ('instance', 'detection'))
TWELVE_EPOCHS = CONFIGS / 'maskdino_r50_coco_instance_12e.py'


def evaluation(config, seed):
    """What a run logs at its end."""
    boxes = {'coco/bbox_mAP': 0.3 + seed / 10}
    return boxes if config == str(DETECTION) else boxes | {'coco/segm_mAP': 0.5}


@pytest.fixture
def trainings(monkeypatch):
    """(config, options) of each training; in its place there is the log of an evaluation."""
    started = []

    def run(command, check):
        _, tool, config, _, work_dir, resume, _, *options = command
        assert check and Path(tool).name == 'train.py' and resume == '--resume'
        options = dict(option.split('=', 1) for option in options)
        started.append((Path(config), options))
        log = Path(work_dir) / '20300101_000000' / 'vis_data' / 'scalars.json'
        log.parent.mkdir(parents=True)
        log.write_text(json.dumps(evaluation(config, int(options['randomness.seed']))))

    monkeypatch.setattr(subprocess, 'run', run)
    return started


@pytest.fixture
def run_ablation(run_tool, monkeypatch, tmp_path):
    """Runs the tool, whose neighbour it imports."""
    monkeypatch.syspath_prepend(CONFIGS.parents[1] / 'tools' / 'analysis_tools')
    return lambda *args: run_tool('analysis_tools/run_ablation.py', '--work-dir', tmp_path, *args)


def test_means_and_spreads_of_all_runs(run_ablation, trainings, capsys):
    assert run_ablation(INSTANCE, DETECTION, '--seeds', 0, 1, 2) == 0
    assert [(path, options['randomness.seed']) for path, options in trainings] == [
        (path, seed) for seed in '012' for path in (INSTANCE, DETECTION)
    ]
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith('|')]
    assert table == [
        '| config | box AP | mask AP |',
        '|---|---|---|',
        '| maskdino_r18_shapes_instance | 40.0 ± 10.0 (30.0, 40.0, 50.0) | 50.0 ± 0.0 (50.0, 50.0, 50.0) |',
        '| maskdino_r18_shapes_detection | 40.0 ± 10.0 (30.0, 40.0, 50.0) |  |',
    ]


def test_evaluated_runs_are_not_repeated(run_ablation, trainings, capsys):
    assert run_ablation(INSTANCE, '--seeds', 1) == run_ablation(INSTANCE, '--seeds', 1, 2) == 0
    assert [options['randomness.seed'] for _, options in trainings] == ['1', '2']
    assert '| maskdino_r18_shapes_instance | 45.0 ± 7.1 (40.0, 50.0) |' in capsys.readouterr().out


@pytest.mark.parametrize(('config', 'iterations', 'milestones'), [(INSTANCE, 400, None), (TWELVE_EPOCHS, 1000, [916])])
def test_a_shorter_schedule_ends_as_the_whole_one_does(run_ablation, trainings, config, iterations, milestones):
    assert run_ablation(config, '--seeds', 0, '--iterations', iterations, '--cfg-options', 'model.x=1') == 0
    ((_, options),) = trainings
    assert options.pop('model.x') == '1'
    cfg = Config.fromfile(config)
    cfg.merge_from_dict({key: json.loads(value) for key, value in options.items()})
    assert cfg.train_cfg.max_iters == cfg.train_cfg.val_interval == cfg.param_scheduler[-1].end == iterations
    assert cfg.param_scheduler[-1].get('milestones') == milestones
    assert cfg.param_scheduler[0].end == min(100, iterations) or milestones


def test_a_failed_training_stops_the_series(run_ablation, monkeypatch):
    def fail(command, check):
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(subprocess, 'run', fail)
    with pytest.raises(subprocess.CalledProcessError):
        run_ablation(INSTANCE)


def test_schedule_shorter_than_the_warm_up(run_ablation, trainings):
    message = run_ablation(INSTANCE, '--iterations', 100)
    assert 'CosineAnnealingLR begins at iteration 100' in message and not trainings


def test_unknown_config(run_ablation, capsys):
    assert run_ablation('configs/nowhere.py') == 2
    assert 'config file configs/nowhere.py does not exist' in capsys.readouterr().err


def test_work_dir_of_another_length(run_ablation, trainings, tmp_path):
    saved = tmp_path / INSTANCE.stem / 'seed_0' / INSTANCE.name
    saved.parent.mkdir(parents=True)
    saved.write_text('train_cfg = dict(max_iters=400)')
    message = run_ablation(INSTANCE, '--seeds', 0, '--iterations', 500)
    assert 'holds a run of 400 iterations, and 500 are wanted' in message and not trainings
    assert run_ablation(INSTANCE, '--seeds', 0, '--iterations', 400) == 0 and len(trainings) == 1


def test_the_whole_schedule_is_evaluated_once_at_its_end(run_ablation, trainings):
    """An interrupted run has no evaluation of an earlier state that could pass for its result."""
    assert run_ablation(INSTANCE, '--seeds', 0) == 0
    ((_, options),) = trainings
    assert options['train_cfg.max_iters'] == options['train_cfg.val_interval'] == options['param_scheduler.1.end']
    assert options['train_cfg.max_iters'] == '1800'
