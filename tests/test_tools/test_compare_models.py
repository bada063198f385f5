"""Series of trainings; the trainings themselves are replaced by the logs that they would write."""

import json
import subprocess
from pathlib import Path

import pytest
from mmengine.config import Config

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'configs' / 'maskdino'
INSTANCE, DETECTION = (CONFIGS / f'maskdino_r18_shapes_{task}.py' for task in ('instance', 'detection'))
TWELVE_EPOCHS = CONFIGS / 'maskdino_r50_coco_instance_12e.py'
SECONDS = {'DINO': 0.2, 'Mask2Former': 0.201}  # of a step; 0.25 of the others


def lines_of_log(model, seed, rate, iterations, interval):
    """What a run logs: the steps, and boxes better with each seed, and at a rate of 2e-3 than at others."""
    for step in range(1, iterations + 1):
        if step % 50 == 0:
            yield dict(loss=1.0, time=SECONDS.get(model, 0.25), iter=step, step=step)
        if step % interval and step != iterations:
            continue
        worse = 0.2 * (rate != 2e-3)
        boxes = 0.3 - worse + seed / 10 - (iterations - step) / 10000
        masks = {} if model in ('DINO', DETECTION.stem) else {'coco/segm_mAP': 0.5 - worse}
        yield {'coco/bbox_mAP': boxes, **masks, 'time': 9.0, 'step': step}


@pytest.fixture
def trainings(monkeypatch):
    """(config, options) of each training; in its place there is its log."""
    started = []

    def run(command, check, env, stdout, stderr):
        _, tool, config, _, work_dir, resume, _, *options = command
        assert not check and Path(tool).name == 'train.py' and resume == '--resume' and env['OMP_NUM_THREADS'] == '1'
        options = dict(option.split('=', 1) for option in options)
        started.append((Path(config), options))
        keys = ('randomness.seed', 'optim_wrapper.optimizer.lr', 'train_cfg.max_iters', 'train_cfg.val_interval')
        log = Path(work_dir) / '20300101_000000' / 'vis_data' / 'scalars.json'
        log.parent.mkdir(parents=True)
        lines = lines_of_log(Path(config).stem, *(json.loads(options[key]) for key in keys))
        log.write_text(''.join(json.dumps(line) + '\n' for line in lines))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    monkeypatch.setattr(subprocess, 'run', run)
    return started


@pytest.fixture
def compare(run_tool, monkeypatch, tmp_path):
    """Runs the tool, whose neighbours it imports."""
    monkeypatch.syspath_prepend(ROOT / 'tools' / 'analysis_tools')
    return lambda *args: run_tool('analysis_tools/compare_models.py', '--work-dir', tmp_path, *args)


def names_of(trainings, *keys):
    return [(path.stem, *(options[key] for key in keys)) for path, options in trainings]


def table(capsys):
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith('|')]


def test_means_and_spreads_of_all_runs(compare, trainings, capsys):
    assert compare(INSTANCE, DETECTION, '--seeds', 0, 1, 2) == 0
    assert [(path, options['randomness.seed']) for path, options in trainings] == [
        (path, seed) for seed in '012' for path in (INSTANCE, DETECTION)
    ]
    assert table(capsys) == [
        '| model | iterations | rate | s a step | mask AP | box AP |',
        '| --- | --- | --- | --- | --- | --- |',
        '| maskdino_r18_shapes_instance | 1800 | 0.002 | 0.25 | 50.0 ± 0.0 (50.0, 50.0, 50.0) '
        '| 40.0 ± 10.0 (30.0, 40.0, 50.0) |',
        '| maskdino_r18_shapes_detection | 1800 | 0.002 | 0.25 |  | 40.0 ± 10.0 (30.0, 40.0, 50.0) |',
    ]


def test_evaluated_runs_are_not_repeated(compare, trainings, capsys, tmp_path):
    """They are known from the records alone, which may come from another machine."""
    assert compare(INSTANCE, '--seeds', 1) == 0
    kept = tmp_path / 'elsewhere.json'
    (tmp_path / 'records.json').rename(kept)
    assert compare(INSTANCE, '--seeds', 1, 2, '--records', kept, '--work-dir', tmp_path / 'new') == 0
    assert [options['randomness.seed'] for _, options in trainings] == ['1', '2']
    assert '| 45.0 ± 7.1 (40.0, 50.0) |' in table(capsys)[-1]


def test_a_run_that_was_interrupted_goes_on(compare, trainings, tmp_path):
    """Its evaluation after half of the steps does not pass for its result."""
    log = tmp_path / INSTANCE.stem / '400-iterations_rate-0.002' / 'seed_0' / '2029' / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text(''.join(json.dumps(line) + '\n' for line in [*lines_of_log('', 0, 2e-3, 400, 200)][:2]))
    assert compare(INSTANCE, '--seeds', 0, '--iterations', 400, '--evaluations', 2) == 0 and len(trainings) == 1
    (record,) = json.loads((tmp_path / 'records.json').read_text())
    assert record['curves']['box AP'] == [[200, 400], pytest.approx([28, 30])] and record['seconds'] == 0.25


def test_each_model_takes_the_better_rate(compare, trainings, capsys):
    assert compare(INSTANCE, DETECTION, '--seeds', 3, 4, '--rates', 1e-3, 2e-3, '--parallel', 2) == 0
    assert sorted(names_of(trainings, 'randomness.seed', 'optim_wrapper.optimizer.lr')) == sorted(
        (path.stem, seed, rate)
        for path in (INSTANCE, DETECTION)
        for seed, rate in [('3', '0.001'), ('3', '0.002'), ('4', '0.002')]
    )
    # The runs at the other rate are shown as well.
    assert [line.split(' | ')[2] for line in table(capsys)[2:]] == ['0.001', '0.002', '0.001', '0.002']


def test_peers_train_as_the_first_config_does_and_as_long(compare, trainings, capsys, tmp_path):
    """0.25 s a step against 0.2: 125 % of the steps; against 0.201, 124 %."""
    peers = ('--peers', 'DINO', 'Mask2Former')
    plot = tmp_path / 'curves.png'
    assert compare(INSTANCE, *peers, '--seeds', 0, '--iterations', 400, '--same-time', '--plot', plot) == 0
    assert names_of(trainings, 'train_cfg.max_iters') == [
        (INSTANCE.stem, '400'),
        ('DINO', '400'),
        ('Mask2Former', '400'),
        ('DINO', '500'),
        ('Mask2Former', '498'),
    ]
    assert [line.split(' | ')[0] for line in table(capsys)[2:]] == [
        f'| {name}' for name, _ in names_of(trainings, 'train_cfg.max_iters')
    ]
    assert plot.read_bytes()[:4] == b'\x89PNG'


def test_a_training_that_ends_without_its_evaluation(compare, monkeypatch):
    monkeypatch.setattr(subprocess, 'run', lambda command, **_: subprocess.CompletedProcess(command, 0))
    assert 'ended without an evaluation after 1800 iterations' in compare(INSTANCE, '--seeds', 0)


@pytest.mark.parametrize(('config', 'iterations', 'milestones'), [(INSTANCE, 400, None), (TWELVE_EPOCHS, 1000, [916])])
def test_a_shorter_schedule_ends_as_the_whole_one_does(compare, trainings, config, iterations, milestones):
    assert compare(config, '--seeds', 0, '--iterations', iterations, '--cfg-options', 'model.x=1') == 0
    ((_, options),) = trainings
    assert options.pop('model.x') == '1'
    cfg = Config.fromfile(config)
    cfg.merge_from_dict({key: json.loads(value) for key, value in options.items()})
    assert cfg.train_cfg.max_iters == cfg.train_cfg.val_interval == cfg.param_scheduler[-1].end == iterations
    assert cfg.param_scheduler[-1].get('milestones') == milestones
    assert cfg.param_scheduler[0].end == min(100, iterations) or milestones


def test_figures_of_another_config_of_the_name_are_not_taken(compare, trainings, tmp_path):
    edited = tmp_path / 'pets.py'
    edited.write_text(f"_base_ = '{INSTANCE}'")
    assert compare(edited, '--peers', 'DINO', '--seeds', 0, '--iterations', 400) == 0
    edited.write_text(f"_base_ = '{INSTANCE}'\nmodel = dict(panoptic_head=dict(query_init=dict(num_queries=50)))")
    before = len(trainings)
    assert 'another config or other --cfg-options' in compare(edited, '--seeds', 0, '--iterations', 400)
    assert 'another --work-dir' in compare(
        edited, '--seeds', 0, '--iterations', 400, '--records', tmp_path / 'new.json'
    )
    assert len(trainings) == before


def test_what_is_as_long_but_has_no_schedule_is_left_out(compare, trainings, capsys, monkeypatch):
    monkeypatch.setitem(SECONDS, 'DINO', 0.6)  # 0.25 / 0.6 of 240 steps are 100: no step after the warm-up
    assert compare(INSTANCE, '--peers', 'DINO', '--seeds', 0, '--iterations', 240, '--same-time') == 0
    out = capsys.readouterr().out
    assert 'not trained as long as the first:' in out and 'begins at iteration 100' in out and '| DINO | 240 |' in out
    assert len(trainings) == 2


def test_what_was_trained_is_shown_when_another_fails(compare, trainings, capsys, monkeypatch):
    succeed = subprocess.run

    def run(command, **options):
        seed = [option for option in command if 'randomness.seed' in option]
        return subprocess.CompletedProcess(command, 3) if seed == ['randomness.seed=1'] else succeed(command, **options)

    monkeypatch.setattr(subprocess, 'run', run)
    assert 'ended with status 3' in compare(INSTANCE, '--seeds', 0, 1)
    assert '| 50.0 | 30.0 |' in table(capsys)[-1]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--cfg-options', 'randomness.seed=7'], '--cfg-options randomness.seed is what --seeds sets'),
        (['--evaluations', 0], 'expected 1 or more, got 0'),
        (['--iterations', 0], 'expected 1 or more, got 0'),
        (['--parallel', 0], 'expected 1 or more, got 0'),
        (['--seeds', 0, -1], 'expected 0 or more, got -1'),
        (['--rates', 'nan'], 'expected a number above 0, got nan'),
        (['--rates', 0], 'expected a number above 0, got 0'),
        (['--plot', 'curves.doc'], 'expected a name that ends with one of .png'),
    ],
)
def test_arguments_that_cannot_be(compare, trainings, capsys, arguments, message):
    assert compare(INSTANCE, *arguments) == 2 and not trainings
    assert message in capsys.readouterr().err


def test_what_is_given_twice_is_trained_once(compare, trainings):
    assert compare(INSTANCE, '--seeds', 0, 0, '--rates', 2e-3, 0.0020000001, '--iterations', 400) == 0
    assert len(trainings) == 1


def test_a_schedule_that_is_not_by_iterations(compare, trainings, tmp_path):
    epochs = tmp_path / 'epochs.py'
    epochs.write_text(f"_base_ = '{INSTANCE}'\ntrain_cfg = dict(_delete_=True, by_epoch=True, max_epochs=3)")
    assert 'expected train_cfg.max_iters' in compare(epochs) and not trainings


def test_a_schedule_without_its_beginning(compare, trainings, tmp_path):
    config = tmp_path / 'pets.py'
    config.write_text(
        f"_base_ = '{INSTANCE}'\n"
        "param_scheduler = [dict(type='MultiStepLR', by_epoch=False, end=1800, milestones=[900], gamma=0.1)]"
    )
    assert compare(config, '--seeds', 0, '--iterations', 400) == 0
    assert trainings[0][1]['param_scheduler.0.milestones'] == '[200]'


def test_a_failed_training_stops_the_series(compare, monkeypatch, tmp_path):
    started = []

    def fail(command, stdout, stderr, **_):
        assert stderr is None, 'the only training of the moment shows what it says'
        started.append(command)
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(subprocess, 'run', fail)
    message = compare(INSTANCE, DETECTION)
    log = tmp_path / INSTANCE.stem / '1800-iterations_rate-0.002' / 'seed_0' / 'training.log'
    assert f'the training ended with status 3; its log: {log}' in message and log.is_file() and len(started) == 1


def test_schedule_shorter_than_the_warm_up(compare, trainings):
    message = compare(INSTANCE, '--iterations', 100)
    assert 'CosineAnnealingLR begins at iteration 100' in message and not trainings


def test_unknown_config(compare, capsys):
    assert compare('configs/nowhere.py') == 2
    assert 'config file configs/nowhere.py does not exist' in capsys.readouterr().err


def test_the_whole_schedule_is_evaluated_once_at_its_end(compare, trainings):
    """An interrupted run has no evaluation of an earlier state that could pass for its result."""
    assert compare(INSTANCE, '--seeds', 0) == 0
    ((_, options),) = trainings
    assert options['train_cfg.max_iters'] == options['train_cfg.val_interval'] == options['param_scheduler.1.end']
    assert options['train_cfg.max_iters'] == '1800'


def test_two_configs_of_one_name(compare, trainings, tmp_path, capsys):
    (tmp_path / INSTANCE.name).write_text(f"_base_ = '{INSTANCE}'")
    assert compare(INSTANCE, tmp_path / INSTANCE.name) == 2 and not trainings
    assert 'two configs have the same name' in capsys.readouterr().err
