"""The command line: its commands, their help, messages and exit statuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mmmaskdino import __version__
from mmmaskdino.cli.main import COMMANDS, main, run_command
from mmmaskdino.cli.main import TOOLS as COMMANDS_OF_TOOLS
from mmmaskdino.cli.messages import CommandError, errors_as_messages

TOOLS = {
    'train': 'train.py',
    'test': 'test.py',
    'convert': 'model_converters/convert_checkpoint.py',
    'export': 'deployment/export.py',
}


def stopped(*argv: str) -> int | str:
    """What the command line gave to `sys.exit`."""
    with pytest.raises(SystemExit) as stop:
        main(argv)
    return stop.value.code


def test_help_names_every_command(capsys: pytest.CaptureFixture) -> None:
    assert stopped('--help') == 0
    text = capsys.readouterr().out
    assert all(f'  {name} ' in text for name in [*COMMANDS, *COMMANDS_OF_TOOLS])


@pytest.mark.parametrize('command', COMMANDS)
def test_each_command_explains_itself(command: str, capsys: pytest.CaptureFixture) -> None:
    assert stopped(command, '--help') == 0
    text = capsys.readouterr().out
    assert text.startswith(f'usage: mmmaskdino {command} ')
    assert f'mmmaskdino {command}' in text.partition('\n\n')[2], 'an example'


@pytest.mark.parametrize('command', COMMANDS_OF_TOOLS)
def test_tools_are_commands_too(
    command: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, project_root: Path
) -> None:
    """From the folder that a wheel has as well; their neighbours are found."""
    monkeypatch.setattr(sys, 'argv', ['pytest'])
    monkeypatch.setattr(sys, 'path', [place for place in sys.path if 'tools' not in place])
    assert stopped(command, '--help') == 0
    assert capsys.readouterr().out.startswith(f'usage: mmmaskdino {command} ')
    script = COMMANDS_OF_TOOLS[command][0]
    assert (project_root / 'mmmaskdino' / '.mim' / 'tools' / script).samefile(project_root / 'tools' / script)


def test_version(capsys: pytest.CaptureFixture) -> None:
    assert stopped('--version') == 0
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize('argv', [[], ['trian'], ['train'], ['train', 'config.py', '--no-such-option']])
def test_wrong_command_lines(argv: list[str], capsys: pytest.CaptureFixture) -> None:
    assert stopped(*argv) == 2
    assert 'usage: mmmaskdino' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (['predikt', 'a.jpg'], 'there is no command predikt; did you mean predict'),
        (['predict', 'a.jpg', '--conf', '0.5'], 'unrecognized arguments: --conf 0.5; did you mean --score-thr?'),
        (['predict', 'a.jpg', '--weigths=a.pth'], 'unrecognized arguments: --weigths=a.pth; did you mean --weights?'),
        (['data', 'check', 'pets', '--an', 'a.json'], 'unrecognized arguments: --an a.json'),
        (
            ['data', 'config', 'pets', '--out', 'a.py', '--gpu_memory', '8'],
            '--gpu_memory 8; did you mean --gpu-memory?',
        ),
        (['data', 'config', 'pets', '--out', 'a.py', '--model', 'small'], 'unrecognized arguments: --model small\n'),
    ],
)
def test_mistyped_words(argv: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    """There are no abbreviations: `--conf 0.5`, as it is written elsewhere, is not taken for `--config 0.5`."""
    assert stopped(*argv) == 2
    assert message in capsys.readouterr().err


def test_what_a_person_can_fix_is_one_message() -> None:
    assert stopped('train', 'toy.py') == 'mmmaskdino train: config file toy.py does not exist'
    assert 'checkpoint toy.pth does not exist' in stopped('test', __file__, 'toy.pth')
    assert 'expects a name that ends with .pkl' in stopped('test', __file__, __file__, '--out', 'toy.json')


@pytest.mark.parametrize(('command', 'tool'), TOOLS.items())
def test_scripts_of_tools_are_the_same_commands(
    command: str, tool: str, project_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, 'argv', [tool, '--help'])
    with pytest.raises(SystemExit):
        run_command(command)
    expected = capsys.readouterr().out
    source = (project_root / 'tools' / tool).read_text()
    with pytest.raises(SystemExit):
        exec(compile(source, tool, 'exec'), {'__name__': '__main__'})
    assert capsys.readouterr().out == expected


def test_an_interruption_has_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def interrupt(args: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr('mmmaskdino.cli.convert.run', interrupt)
    assert main(['convert', 'a.pth', 'b.pth', '--config', __file__]) == 130
    assert capsys.readouterr().err == '\nmmmaskdino convert: interrupted\n'


def test_only_expected_errors_become_messages() -> None:
    with pytest.raises(CommandError, match='of the data'), errors_as_messages(ValueError):
        raise ValueError('of the data')
    with pytest.raises(KeyError), errors_as_messages(ValueError):
        raise KeyError('of the program')


def test_help_does_not_import_torch(project_root: Path) -> None:
    """The import of the package takes seconds; one who only asks for help does not wait for it."""
    code = "import sys, mmmaskdino_cli; sys.argv[1:] = ['train', '--help']\ntry: mmmaskdino_cli.main()\n"
    code += "finally: print('imported:', 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=project_root)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith('imported: False\n') and 'usage:' in done.stdout


def test_a_broken_installation_is_a_message(project_root: Path) -> None:
    """Every command but `doctor` rejects with what fixes it; `doctor` shows the versions besides."""
    code = 'import sys; sys.modules["mmdet"] = None; import mmmaskdino_cli; sys.exit(mmmaskdino_cli.main())'
    command = [sys.executable, '-W', 'ignore', '-c', code]
    done = subprocess.run(
        [*command, 'train', 'maskdino_r50_coco_panoptic'], capture_output=True, text=True, cwd=project_root
    )
    assert done.returncode == 1
    assert 'mmmaskdino train: mmmaskdino cannot run' in done.stderr and 'fix it with: pip' in done.stderr
    assert 'Traceback' not in done.stderr
