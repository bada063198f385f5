"""Which errors of a run are for people to fix, and what is said to them; the traceback goes into the log file.

Shown without one are errors that this package raises (house rule: their message is for people), that mmengine raises
about a config, and a few of the surroundings: files, memory, missing packages, a worker that was killed. All others are
faults of a program, which the traceback is needed for.
"""

from __future__ import annotations

import builtins
import itertools
import linecache
import logging
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError

import mmmaskdino
from mmmaskdino.apis.plain_config import wrong_in_config
from mmmaskdino.cli.messages import CommandError

_FRAME = re.compile(
    r'^  File "(?P<file>.+)", line \d+, in .*\n(?:    (?P<source>.*)\n)?(?:    [ ~^]+\n)?', re.MULTILINE
)
_IN_WORKER = re.compile(r'Caught (\w+) in (?:DataLoader worker process|pin memory thread)')


@contextmanager
def faults_as_messages(cfg: Any = None) -> Iterator[None]:
    """Turn errors that people can fix into messages.

    Args:
        cfg (dict | None): The config of the run.

    Raises:
        CommandError: In the place of such an error.
    """
    try:
        yield
    except CommandError:
        raise
    except Exception as error:
        message = explain(error, cfg)
        _write_trace(error)
        if message is None:
            raise
        raise CommandError(message) from error


def explain(error: Exception, cfg: Any = None) -> str | None:
    """What to say about an error.

    Args:
        error: It may have crossed from a worker, which makes its traceback a part of its text.
        cfg (dict | None): The config of the run.

    Returns:
        A message for people; None for an error that needs a programmer.
    """
    wrong = wrong_in_config(error)
    if wrong is not None:
        return wrong
    if any(isinstance(cause, (URLError, HTTPException)) for cause in _chain(error)):
        return _explain_network(error)
    origin = _origin_in_worker(str(error)) or _origin(error)
    if _is_memory(origin):
        return (
            f'out of memory: {_first_line(origin.message)} A smaller train_dataloader.batch_size or smaller images '
            'need less; docs/performance.md has more'
        )
    if 'DataLoader worker (pid' in origin.message:
        return (
            f'{_first_line(origin.message)} A process that loads data was ended from outside, often for lack of memory '
            '(or of shared memory, /dev/shm): fewer num_workers or a smaller batch_size need less'
        )
    if isinstance(error, ImportError):
        return _explain_import(error, cfg)
    if origin.is_raised_by(mmmaskdino) or origin.is_about_config:
        return origin.message or None
    if issubclass(getattr(builtins, origin.kind, object), OSError):
        return origin.message
    return None


class _Origin(NamedTuple):
    """Where an error comes from.

    Attributes:
        kind: Name of its class.
        message: Its text.
        file: Of the code that raised it.
        source: The line of code.
    """

    kind: str
    message: str
    file: str
    source: str

    def is_raised_by(self, package: Any) -> bool:
        """Whether a `raise` of a package did it, as opposed to Python or a function that the package called."""
        inside = Path(package.__file__).parent in Path(self.file).parents
        return inside and self.source.startswith('raise ')

    @property
    def is_about_config(self) -> bool:
        """Whether building an object from a config failed: no such class, no such argument."""
        parts = Path(self.file).parts
        return any(pair in itertools.pairwise(parts) for pair in (('mmengine', 'registry'), ('mmengine', 'config')))


def _origin(error: BaseException) -> _Origin:
    frames = list(traceback.walk_tb(error.__traceback__))
    file, line = (frames[-1][0].f_code.co_filename, frames[-1][1]) if frames else ('', 0)
    # The text of a KeyError is the repr of its message.
    message = error.args[0] if isinstance(error, KeyError) and error.args else error
    return _Origin(type(error).__name__, str(message), file, linecache.getline(file, line).strip())


def _origin_in_worker(text: str) -> _Origin | None:
    """Of an error of a worker, which torch hands on as text."""
    caught = _IN_WORKER.search(text)
    frames = list(_FRAME.finditer(text))
    if caught is None or not frames:
        return None
    message = text[frames[-1].end() :].partition(': ')[2].strip()
    return _Origin(caught[1], message, frames[-1]['file'], frames[-1]['source'] or '')


def _is_memory(origin: _Origin) -> bool:
    return origin.kind in ('OutOfMemoryError', 'MemoryError') or "can't allocate memory" in origin.message


def _explain_network(error: Exception) -> str:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    texts = (frame.f_locals.get(name) for frame in reversed(frames) for name in ('url', 'filename', 'address'))
    address = next((text for text in texts if isinstance(text, str) and '://' in text), 'an address')
    return (
        f'{address} cannot be fetched ({getattr(error, "reason", None) or error}). Without network, train from weights '
        'on this disk (--cfg-options load_from=FILE model.backbone.init_cfg=None, or '
        'model.backbone.init_cfg.checkpoint=FILE for the backbone alone), or from random ones '
        '(model.backbone.init_cfg=None), which needs many images and a long training'
    )


def _explain_import(error: ImportError, cfg: Any) -> str:
    package = next((e.name for e in _chain(error) if isinstance(e, ModuleNotFoundError) and e.name), None)
    needs = f'needs the package {package}: pip install {package}' if package else f'fails: {error}'
    wanted = set(_types(cfg))
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        name = type(frame.f_locals.get('self')).__name__
        if name in wanted:
            return f'the config asks for {name}, which {needs}'
    return f'the run {needs}'


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _types(cfg: Any) -> Iterator[str]:
    """Names of all classes that a config asks for."""
    if isinstance(cfg, dict) or hasattr(cfg, 'items'):
        kind = cfg.get('type')
        if kind is not None:
            yield kind.rpartition('.')[2] if isinstance(kind, str) else getattr(kind, '__name__', '')
        for value in dict(cfg.items()).values():
            yield from _types(value)
    elif isinstance(cfg, (list, tuple)):
        for value in cfg:
            yield from _types(value)


def _first_line(text: str) -> str:
    line = text.strip().partition('\n')[0].strip()
    return line if line.endswith('.') else f'{line}.'


def _write_trace(error: Exception) -> None:
    """Into the log files alone, if there are any yet."""
    from mmengine.logging import MMLogger

    if not MMLogger._instance_dict:  # asking for the logger would make one
        return
    logger = MMLogger.get_current_instance()
    information = (type(error), error, error.__traceback__)
    record = logger.makeRecord(logger.name, logging.ERROR, __file__, 0, 'the run has failed', (), information)
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)
