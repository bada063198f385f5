"""What the documents tell people to type exists: commands, options, scripts, extras, config files and config keys."""

from __future__ import annotations

import argparse
import re
import runpy
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope, init_default_scope

from mmmaskdino.apis.launch import load_config
from mmmaskdino.cli.main import COMMANDS, TOOLS, build_parser

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    *sorted(ROOT.glob('*.md')),
    ROOT / '.github' / 'PULL_REQUEST_TEMPLATE.md',
    ROOT / 'configs' / 'maskdino' / 'README.md',
    *sorted((ROOT / 'docs').glob('*.md')),
]
# What has a command is spelt in no other way; shell scripts are started by bash, launchers as in all of OpenMMLab.
OTHER_SPELLINGS = {
    r'tools/(train|test)\.py': 'mmmaskdino train or mmmaskdino test',
    r'convert_checkpoint\.py': 'mmmaskdino convert',
    r'deployment/export\.py': 'mmmaskdino export',
    r'python -m mmmaskdino': 'mmmaskdino COMMAND',
    r'(?m)^\s*(\./)?(tools|\.ci)/(quickstart|run_tests|setup_env|build_docs|coverage)\.sh': 'bash tools/NAME.sh',
    r'bash tools/(dist|slurm)_\w+\.sh': 'tools/NAME.sh',
    **{f'python tools/{script}': f'mmmaskdino {name}' for name, (script, _) in TOOLS.items()},
}
# Programs of others; their options are not ours to check.
OTHER_PROGRAMS = {'curl', 'docker', 'mim', 'pre-commit', 'python3.11', 'source', 'tensorboard', 'trtexec'}
# Launchers: the arguments they need, the places of those that are their own, and the script that gets the others.
LAUNCHERS = {
    'dist_train.sh': (2, {1}, 'train.py'),
    'dist_test.sh': (3, {2}, 'test.py'),
    'slurm_train.sh': (4, {0, 1, 3}, 'train.py'),
    'slurm_test.sh': (4, {0, 1}, 'test.py'),
}


class Command(NamedTuple):
    """A command of a document."""

    place: str
    words: tuple[str, ...]
    is_whole: bool
    """Whether it can be run as it stands; in running text, arguments may be left out."""


def blocks(path: Path, language: str) -> list[str]:
    """The code blocks of a language, without their indentation."""
    found = re.findall(rf'(?ms)^( *)```{language}\n(.*?)^ *```', path.read_text())
    return [re.sub(rf'(?m)^{indent}', '', block) for indent, block in found]


def read_commands(path: Path) -> Iterator[Command]:
    """The commands of a document's shell blocks and of its running text."""
    for block in blocks(path, '(?:bash|shell|console)'):
        variables: dict[str, str] = {}
        for line in re.sub(r'\\\n\s*', ' ', block).splitlines():
            line = re.sub(r'\$([A-Z]+)', lambda name, values=variables: values.get(name[1], name[0]), line)
            words = shlex.split(line, comments=True)
            if len(words) == 1 and '=' in words[0]:
                variables.update([words[0].split('=', 1)])
            while words:
                end = words.index('&&') if '&&' in words else len(words)
                yield Command(path.name, tuple(words[:end]), is_whole=True)
                words = words[end + 1 :]
    text = re.sub(r'(?ms)^ *```.*?^ *```', '', path.read_text())
    for code in re.findall(r'`((?:mmmaskdino|python|bash|tools/\S+\.(?:sh|py)) [^`]+)`', text):
        yield Command(path.name, tuple(word for word in shlex.split(code) if word != '...'), is_whole=False)


def other_spellings(text: str) -> list[str]:
    """What a text spells in another way than the rest, and the right way."""
    found = [
        (match[0].strip(), right) for other, right in OTHER_SPELLINGS.items() for match in re.finditer(other, text)
    ]
    return [f'{match} should be {right}' for match, right in found]


class _Captured(Exception):  # noqa: N818, it is no error
    """Carries the parser of a script out of it."""


@lru_cache
def parser_of(run: Callable, *arguments: str) -> argparse.ArgumentParser:
    """The parser of a script or module, which is started and stopped where it would read its arguments."""

    def stop(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        raise _Captured(parser)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, 'parse_known_args', stop)
        patch.setattr(sys, 'argv', [arguments[0]])
        patch.syspath_prepend(Path(arguments[0]).parent)  # where scripts find their neighbours
        try:
            run(*arguments, run_name='__main__')
        except _Captured as captured:
            return captured.args[0]
    raise AssertionError(f'{arguments[0]} reads no arguments')


def script_parser(name: str) -> argparse.ArgumentParser:
    """The parser of a script of `tools`."""
    path = ROOT / 'tools' / name
    if not path.is_file():
        raise ValueError(f'there is no script tools/{name}')
    return parser_of(runpy.run_path, str(path))


def check(command: Command) -> None:
    """Check one command.

    Raises:
        ValueError: It would not do what it says.
    """
    words = list(command.words)
    while words and re.fullmatch(r'[A-Z_]+=.*', words[0]):
        words.pop(0)
    if not words:
        return
    program, *arguments = words
    if program == 'bash':
        program, *arguments = arguments
    if program in ('torchrun', 'srun'):  # several processes of one command
        program, *arguments = words[words.index('mmmaskdino') :]
    if program == 'mmmaskdino':
        check_subcommand(arguments, command.is_whole)
    elif program in ('python', 'pip'):
        dict(python=check_python, pip=check_pip)[program](arguments, command.is_whole)
    elif program.startswith(('tools/', '.ci/')):
        check_script(program, arguments, command.is_whole)
    elif program not in OTHER_PROGRAMS:
        raise ValueError(f'unknown program {program}')


def check_subcommand(arguments: list[str], is_whole: bool) -> None:
    name, *arguments = arguments
    if name == '--help':
        return
    if name in TOOLS:
        return check_arguments(script_parser(TOOLS[name][0]), arguments, is_whole)
    if name not in COMMANDS:
        raise ValueError(f'mmmaskdino has no command {name}')
    check_arguments(build_parser(name), arguments, is_whole)


def check_python(arguments: list[str], is_whole: bool) -> None:
    name, *arguments = arguments
    if name == '-c':
        compile(arguments[0], 'command', 'exec')
    elif name == '-m':
        check_arguments(parser_of(runpy.run_module, arguments[0]), arguments[1:], is_whole)
    else:
        check_arguments(script_parser(name.removeprefix('tools/')), arguments, is_whole)


def check_pip(arguments: list[str], is_whole: bool) -> None:
    known = re.findall(r"(?m)^        '(\w+)': ", (ROOT / 'setup.py').read_text())
    for name in re.findall(r'(?:mmmaskdino|\.)\[(\w+)\]', ' '.join(arguments)):
        if name not in known:
            raise ValueError(f'setup.py has no extra {name}, only {known}')


def check_script(program: str, arguments: list[str], is_whole: bool) -> None:
    path, name = ROOT / program, program.removeprefix('tools/')
    if not path.is_file():
        raise ValueError(f'there is no script {program}')
    if name in LAUNCHERS:
        num_arguments, own, script = LAUNCHERS[name]
        if is_whole and len(arguments) < num_arguments:
            raise ValueError(f'tools/{name} needs {num_arguments} arguments')
        check_arguments(script_parser(script), [a for i, a in enumerate(arguments) if i not in own], is_whole)
    elif name.endswith('.py'):
        check_arguments(script_parser(name), arguments, is_whole)
    else:
        for option in (argument for argument in arguments if argument.startswith('--')):
            if option not in path.read_text():
                raise ValueError(f'{program} has no option {option}')


def check_arguments(parser: argparse.ArgumentParser, arguments: list[str], is_whole: bool) -> None:
    """Check the arguments, the config file among them, and the keys that `--cfg-options` sets in it."""
    known = set(options_of(parser))
    for argument in arguments:
        if re.match(r'--\w', argument) and argument.partition('=')[0] not in known:
            raise ValueError(f'{parser.prog} has no option {argument}')
        if re.fullmatch(r'configs/[\w/.-]+', argument) and not (ROOT / argument).exists():
            raise ValueError(f'there is no {argument}')
    if not is_whole:
        return
    try:
        args = argparse.ArgumentParser.parse_args(parser, arguments)
    except SystemExit:
        raise ValueError(f'{parser.prog} does not understand {" ".join(arguments)}') from None
    config, options = getattr(args, 'config', None), getattr(args, 'cfg_options', None)
    if options and isinstance(config, str) and (ROOT / config).is_file():
        check_config(load_config(ROOT / config, options))


def options_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Options of a parser and of its actions."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from options_of(child)


def check_config(cfg: Config) -> None:
    """Build the model, whose parts reject unknown keys."""
    import mmmaskdino  # noqa: F401, registers

    with DefaultScope.overwrite_default_scope(cfg.default_scope), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        init_default_scope(cfg.default_scope)
        MODELS.build(cfg.model)


@pytest.fixture(autouse=True)
def _imports_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, 'path', sys.path.copy())


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands(path: Path) -> None:
    for command in read_commands(path):
        try:
            check(command)
        except ValueError as error:
            pytest.fail(f'{command.place}: {" ".join(command.words)}: {error}')


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_each_command_has_one_spelling(path: Path) -> None:
    assert other_spellings(path.read_text()) == []


@pytest.mark.parametrize(
    ('text', 'right'),
    [
        ('python tools/train.py CONFIG', 'mmmaskdino train'),
        ('`python -m mmmaskdino doctor`', 'mmmaskdino COMMAND'),
        ('```bash\ntools/run_tests.sh\n```', 'bash tools/NAME.sh'),
        ('bash tools/dist_train.sh CONFIG 8', 'tools/NAME.sh'),
        ('python tools/analysis_tools/plot_training.py x.png', 'mmmaskdino curves'),
    ],
)
def test_another_spelling_is_found(text: str, right: str) -> None:
    assert [right in fault for fault in other_spellings(text)] == [True]


def test_commands_are_found() -> None:
    found = [command for path in DOCUMENTS for command in read_commands(path)]
    assert len([c for c in found if c.is_whole]) > 80 and len([c for c in found if not c.is_whole]) > 20
    assert all(path.is_file() for path in DOCUMENTS)


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_python_blocks(path: Path, tmp_path: Path) -> None:
    for block in blocks(path, 'python'):
        compile(block, path.name, 'exec')
        check_names(block)
        if block.startswith('_base_'):
            text = block.replace("_base_ = '", f"_base_ = '{ROOT}/configs/maskdino/", 1)
            (tmp_path / 'config.py').write_text(text)
            assert Config.fromfile(tmp_path / 'config.py').model


def check_names(block: str) -> None:
    """What a block imports from this package is there."""
    for line in re.findall(r'(?m)^from mmmaskdino.*$', block):
        exec(line, {})


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        ('mmmaskdino predict photos/ --config C --weights W --out O --threshold 1', 'no option --threshold'),
        ('mmmaskdino export --config C', 'does not understand'),
        ('mmmaskdino forecast photos/', 'no command forecast'),
        ('mmmaskdino train configs/maskdino/nothing.py', 'there is no configs/maskdino/nothing.py'),
        ('mmmaskdino train configs/maskdino/maskdino_r18_shapes_panoptic.py --cfg-options modle.x=1', 'modle'),
        (
            'mmmaskdino test configs/maskdino/maskdino_r18_shapes_panoptic.py W --cfg-options model.test_cfg.scr=1',
            'scr',
        ),
        ('mmmaskdino data config data --output x.py', 'no option --output'),
        ('python tools/trian.py CONFIG', 'no script tools/trian.py'),
        ('python tools/train.py CONFIG --fp16', 'no option --fp16'),
        ('mmmaskdino page --config C --weights W --prot 1', 'no option --prot'),
        ('tools/dist_train.sh CONFIG 8 --fp16', 'no option --fp16'),
        ('tools/dist_train.sh CONFIG', 'needs 2 arguments'),
        ('bash tools/quickstart.sh --fast', 'no option --fast'),
        ('bash .ci/covrage.sh', 'no script .ci/covrage.sh'),
        ('pip install "mmmaskdino[pages]"', 'no extra pages'),
        ('sl', 'unknown program sl'),
    ],
)
def test_the_check_can_fail(words: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        check(Command('here', tuple(shlex.split(words)), is_whole=True))


def test_a_renamed_option_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    command = Command('here', ('mmmaskdino', 'train', 'CONFIG', '--amp'), is_whole=False)
    check(command)
    monkeypatch.setattr('mmmaskdino.cli.train.add_arguments', lambda parser: parser.add_argument('--half'))
    with pytest.raises(ValueError, match='no option --amp'):
        check(command)
