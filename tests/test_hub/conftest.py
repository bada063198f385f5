"""A server of files on this machine, with the faults of real ones, and a small model under official names."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from mmengine.config import Config

from mmmaskdino.converters import restore_model
from mmmaskdino.hub import download, read_table

PAGE = b'<!DOCTYPE html><html><body>Please log in.</body></html>'


class FileServer(ThreadingHTTPServer):
    """Serves bytes.

    Attributes:
        files: Content by path.
        faults: Taken by one request each, in order: a status; 'page': HTML with status 200; 'cut': half of what was
            asked for; 'no ranges': all of the file; 'silent': no length, then half.
        requests: (path, Range header or None) of each.
        stall_after: Bytes after which nothing more comes until it is None again; `stalled` is set then.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), Handler)
        self.files: dict[str, bytes] = {}
        self.faults: list[int | str] = []
        self.requests: list[tuple[str, str | None]] = []
        self.url = f'http://127.0.0.1:{self.server_port}/'
        self.stall_after: int | None = None
        self.stalled = threading.Event()

    def add(self, name: str, content: bytes) -> str:
        """Serve a file; returns its address."""
        self.files[f'/{name}'] = content
        return self.url + name


class Handler(BaseHTTPRequestHandler):
    server: FileServer

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:  # noqa: N802
        path = self.path.removeprefix(self.server.url.rstrip('/')).partition('?')[0]  # whole where it is a proxy
        path = path if not path.startswith('http') else '/' + path.split('/', 3)[3]
        asked = self.headers.get('Range')
        self.server.requests.append((self.path, asked))
        fault = self.server.faults.pop(0) if self.server.faults else None
        content = self.server.files.get(path)
        if isinstance(fault, int) or content is None:
            self.send_error(fault if isinstance(fault, int) else 404)
            return
        if fault == 'page':
            self.answer(200, PAGE, {'Content-Type': 'text/html', 'Content-Length': str(len(PAGE))})
            return
        start = int(asked.removeprefix('bytes=').rstrip('-')) if asked and fault != 'no ranges' else 0
        if start >= len(content):
            self.send_response(416)
            self.send_header('Content-Range', f'bytes */{len(content)}')
            self.end_headers()
            return
        rest = content[start:]
        headers = {'Content-Length': str(len(rest))} if fault != 'silent' else {}
        headers |= {'Content-Range': f'bytes {start}-{len(content) - 1}/{len(content)}'} if start else {}
        self.answer(206 if start else 200, rest[: len(rest) // 2] if fault in ('cut', 'silent') else rest, headers)

    def answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        first = content[: self.server.stall_after]
        self.wfile.write(first)
        self.wfile.flush()
        self.server.stalled.set()
        while self.server.stall_after is not None:
            time.sleep(0.02)
        with contextlib.suppress(OSError):  # nobody may listen any more
            self.wfile.write(content[len(first) :])


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as files:
        thread = threading.Thread(target=files.serve_forever, kwargs=dict(poll_interval=0.02))
        thread.start()
        yield files
        files.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of fetched files; no time is lost between attempts."""
    for variable in (download.MIRROR, download.OFFLINE, download.KEEP, 'http_proxy', 'HTTP_PROXY', 'all_proxy'):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv(download.HOME, str(tmp_path / 'home'))
    monkeypatch.setattr(download, 'SECONDS', 0.0)
    return tmp_path / 'home'


@pytest.fixture
def config(project_root: Path, tmp_path: Path) -> Path:
    """A small Mask DINO of two classes."""
    path = tmp_path / 'maskdino_r18_pets_instance.py'
    path.write_text(
        f"_base_ = '{project_root}/configs/maskdino/maskdino_r50-3level_coco_instance.py'\n"
        "metainfo = dict(classes=('cat', 'dog'))\n"
        'test_dataloader = dict(dataset=dict(metainfo=metainfo))\n'
        'model = dict(\n'
        '    backbone=dict(depth=18, base_channels=8, init_cfg=None),\n'
        '    panoptic_head=dict(\n'
        '        in_channels=[8, 16, 32, 64], dim=32, mask_dims=32, num_things_classes=2,\n'
        '        pixel_decoder=dict(num_layers=1, ffn_dim=32), decoder=dict(num_layers=2, ffn_dim=32),\n'
        '        query_init=dict(num_queries=20),\n'
        '    ),\n'
        ')\n'
    )
    return path


@pytest.fixture
def official_of(make_model: Callable) -> Callable[..., bytes]:
    """The file of a model under the official names, from its config and what is changed in it."""

    def make(config: Path, options: dict[str, Any] | None = None, coarsest_first: bool = True, **content: Any) -> bytes:
        cfg = Config.fromfile(config)
        cfg.merge_from_dict(options or {})
        state = restore_model(make_model(cfg).state_dict(), coarsest_first).tensors
        buffer = io.BytesIO()
        torch.save({'model': state, 'iteration': 5, **content}, buffer)
        return buffer.getvalue()

    return make


@pytest.fixture
def official(config: Path, official_of: Callable) -> Callable[..., bytes]:
    """The same of `config`."""
    return functools.partial(official_of, config)


@pytest.fixture
def table(tmp_path: Path, config: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Gives the served bytes a name in a table of the user's own; returns the entry."""

    def write(name: str, content: bytes, **values: Any) -> Any:
        path = tmp_path / 'own.yml'
        models = yaml.safe_load(path.read_text())['models'] if path.exists() else {}
        models[name] = {
            'address': server.add(f'{name}.pth', content),
            'md5': hashlib.md5(content).hexdigest(),
            'bytes': len(content),
            'task': 'instance',
            'kind': 'maskdino',
            'config': str(config),
            **values,
        }
        path.write_text(yaml.safe_dump(dict(models=models)))
        monkeypatch.setenv('MMMASKDINO_MODELS', str(path))
        return read_table()[name]

    return write
