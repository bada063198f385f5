"""`mmmaskdino COMMAND ...`: finds the command, reads its arguments, runs it."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from mmmaskdino.cli.messages import CommandError
from mmmaskdino.plain_text import printable
from mmmaskdino.version import __version__

INTERRUPTED = 130  # what shells report of a program that was ended with Ctrl-C
READER_GONE = 141  # and of one whose output nobody reads any more
COMMANDS = {
    'quickstart': 'train and draw a small model in minutes, on generated shapes or your photographs',
    'train': 'train a model',
    'test': 'evaluate weights, also with test-time augmentation',
    'predict': 'pictures and result files for images, folders and videos',
    'models': 'list models by name, fetch them, check what they reach',
    'configs': 'list the configs that come with the package',
    'data': 'check or divide a dataset, or write a config for it',
    'convert': 'convert released weights, and back',
    'export': 'write a model as ONNX, checked, for other runtimes',
    'page': 'try a model in the browser',
    'serve': 'answer requests by HTTP with results',
    'doctor': 'show what is installed, what is missing and what fixes it',
}
# Scripts of `tools`, which come with the package: command -> script, what it does.
TOOLS = {
    'draw': ('analysis_tools/draw_results.py', 'pictures of ground truth beside prediction'),
    'worst': ('analysis_tools/worst_results.py', 'the same of the images that are predicted worst'),
    'explain': ('analysis_tools/explain_prediction.py', 'pictures of what happens inside a prediction'),
    'compare': ('analysis_tools/compare_models.py', 'train models with several seeds, detectors of mmdet beside them'),
    'curves': ('analysis_tools/plot_training.py', 'losses and metrics of trainings'),
    'benchmark': ('analysis_tools/benchmark.py', 'time, memory and operations beside other detectors'),
    'memory': ('analysis_tools/get_memory.py', 'the batch that fits a GPU, estimated on the CPU'),
    'publish': ('model_converters/publish_model.py', 'weights for others, without what only training needs'),
}
# Work with files alone, without the seconds that importing models takes.
LIGHT = ('configs', 'doctor', 'data', 'models', 'quickstart')
EPILOG = """\
mmmaskdino COMMAND --help shows the options of a command. A first round with one's own data:

  mmmaskdino doctor
  mmmaskdino data check data/pets
  mmmaskdino data config data/pets --out pets.py
  mmmaskdino train pets.py
  mmmaskdino test pets.py work_dirs/pets
  mmmaskdino predict photos/ --model work_dirs/pets

Exit status: 0 done, 1 failed or something was found wrong, 2 the command line is wrong, 130 interrupted.
"""


# What other programs call it.
KNOWN_ELSEWHERE = {
    '--conf': '--score-thr',
    '--threshold': '--score-thr',
    '--checkpoint': '--weights',
    '--project': '--out',
    '--name': '--out',
}


class Parser(argparse.ArgumentParser):
    """A parser that says what a mistyped option may mean and takes no abbreviations: `--conf 0.5` is no `--config`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, **kwargs)

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> argparse.Namespace:
        """As argparse's; parsers of actions, as of `data check`, leave what they do not know to the outermost."""
        namespace, unknown = self.parse_known_args(args, namespace)
        if unknown:
            options = sorted({*_options(self, vars(namespace).values())} - {'-h', '--help'})
            names = (text.partition('=')[0] for text in unknown if text.startswith('-'))
            hints = (_did_you_mean(name, options) for name in names)
            self.error(f'unrecognized arguments: {" ".join(unknown)}{next(filter(None, hints), "")}')
        return namespace


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        argv: Arguments after the program's name; None for those of the shell.

    Returns:
        The exit status.

    Raises:
        SystemExit: With a message for people, which makes the exit status 1, or with the status 2 after a wrong
            command line has been explained.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = Parser(
        prog='mmmaskdino',
        description='Mask DINO for object detection, instance, panoptic and semantic segmentation.',
        epilog=_command_list() + EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=f'mmmaskdino {__version__}')
    parser.add_argument('command', metavar='COMMAND', help='one of those below')
    if not argv:
        parser.print_help(sys.stderr)
        parser.exit(2)
    command = parser.parse_args(argv[:1]).command
    if command not in (*COMMANDS, *TOOLS):
        parser.error(f'there is no command {command}{_did_you_mean(command, [*COMMANDS, *TOOLS])}')
    run = run_tool if command in TOOLS else run_command
    try:
        status = run(command, argv[1:], f'mmmaskdino {command}')
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever reads has enough, as `head` of a list
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE


def run_command(command: str, argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run one command; what the scripts of `tools` call.

    Args:
        command: Its name.
        argv: Its arguments; None for those of the shell.
        prog: Name in front of messages; None for the script's.

    Returns:
        The exit status.

    Raises:
        SystemExit: As of :func:`main`.
    """
    parser = build_parser(command, prog)
    args = parser.parse_args(argv)
    try:
        module = _module(command)
        if hasattr(module, 'check_arguments'):  # what is wrong is said before the seconds that importing models takes
            module.check_arguments(args)
        if command not in LIGHT:
            load_package()
        return module.run(args)
    except CommandError as error:
        raise SystemExit(printable(f'{parser.prog}: {error}')) from None
    except KeyboardInterrupt:
        print(f'\n{parser.prog}: interrupted', file=sys.stderr)
        return INTERRUPTED


def run_tool(name: str, argv: Sequence[str], prog: str) -> int:
    """Run a script of `tools`, which a wheel has inside of the package.

    Args:
        name: A key of `TOOLS`.
        argv: Its arguments.
        prog: Name in front of messages.

    Returns:
        The exit status.

    Raises:
        SystemExit: As of :func:`main`.
    """
    try:
        script = Path(load_package().__file__).parent / '.mim' / 'tools' / TOOLS[name][0]
        sys.argv = [prog, *argv]
        sys.path.insert(0, str(script.parent))  # scripts find their neighbours
        # Not by runpy, which would put the path of the script in front of its messages.
        exec(compile(script.read_bytes(), str(script), 'exec'), dict(__name__='__main__', __file__=str(script)))
    except CommandError as error:
        raise SystemExit(printable(f'{prog}: {error}')) from None
    except KeyboardInterrupt:
        print(f'\n{prog}: interrupted', file=sys.stderr)
        return INTERRUPTED
    return 0


def build_parser(command: str, prog: str | None = None) -> argparse.ArgumentParser:
    """The parser of a command's arguments.

    Args:
        command: Its name.
        prog: Name in front of messages; None for the script's.
    """
    module = _module(command)
    parser = Parser(prog=prog, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    module.add_arguments(parser)
    return parser


def load_package() -> ModuleType:
    """Execute the package's `__init__` if `mmmaskdino_cli` has left that for later; it registers all classes.

    Raises:
        CommandError: The installation is not complete.
    """
    package = sys.modules['mmmaskdino']
    if not hasattr(package, '__version__'):
        from mmmaskdino.stack import StackError

        try:
            package.__spec__.loader.exec_module(package)
        except StackError as error:
            raise CommandError(str(error)) from error
    return package


def _module(command: str) -> ModuleType:
    return importlib.import_module(f'mmmaskdino.cli.{command}')


def _options(parser: argparse.ArgumentParser, chosen: Collection[Any]) -> Iterator[str]:
    """Options of a parser and of the parsers of its actions that are chosen."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for name, part in action.choices.items():
                if name in chosen:
                    yield from _options(part, chosen)


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    from mmmaskdino.hub.table import did_you_mean  # takes a moment, which only errors need

    other = KNOWN_ELSEWHERE.get(name)
    return f'; did you mean {other}?' if other in known else did_you_mean(name, known)


def _command_list() -> str:
    lines = [f'  {name:12}{what}\n' for name, what in COMMANDS.items()]
    lines += [f'  {name:12}{what}\n' for name, (_, what) in TOOLS.items()]
    return f'commands:\n{"".join(lines)}\n'
