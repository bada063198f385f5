"""Starts commands of `mmmaskdino` as processes of their own, without importing everything for each.

A process that has imported the package reads requests from its input, one json object per line, and forks: the child
becomes the leader of a session and runs the command to the end of the interpreter, as if a shell had started it.
"""

import json
import os
import sys
import tempfile
from pathlib import Path


def main() -> int:
    """Serve until the input ends."""
    import torch
    from mmengine.config import config
    from mmengine.model import BaseModule

    import mmmaskdino  # noqa: F401
    from mmmaskdino.cli import main as cli
    from mmmaskdino.cli import test, train  # noqa: F401

    torch.set_num_threads(1)
    # Most of the time of a short run: mmengine lays out the text of the config, and logs lines for each parameter.
    config.FormatCode = lambda text, **options: (text, False)
    BaseModule._dump_init_info = lambda self: None
    for line in sys.stdin:
        request = json.loads(line)
        if os.fork() == 0:
            _become(request)
            return cli.main(request['arguments'])
        os.wait()
    return 0


def _become(request: dict) -> None:
    """Return in the process of the command alone; its parent waits for its end and writes down its status."""
    if os.fork() > 0:
        os._exit(0)  # so that the server has no children to wait for
    folder = Path(request['folder'])
    pid = os.fork()
    if pid > 0:
        _write(folder / 'pid', pid)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        _write(folder / 'status', status)
        os._exit(0)
    os.setsid()
    os.chdir(request['cwd'])
    os.environ.update(request['environment'])
    tempfile.tempdir = None  # asked for again
    sys.argv = ['mmmaskdino', *request['arguments']]
    sys.path.insert(0, request['cwd'])
    output = os.open(folder / 'output', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)


def _write(path: Path, number: int) -> None:
    partial = path.with_name(f'{path.name}.partial')
    partial.write_text(str(number))
    partial.rename(path)


if __name__ == '__main__':
    sys.exit(main())
