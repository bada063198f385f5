"""A model of the Hugging Face Hub, from a server of this machine that answers as the hub does."""

from __future__ import annotations

import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import torch
import yaml

from mmmaskdino.apis import Predictor
from mmmaskdino.hub import FetchError
from mmmaskdino.hub.huggingface import fetch_published

COMMIT = '0123456789abcdef0123456789abcdef01234567'


class HubHandler(BaseHTTPRequestHandler):
    """Lists the files of one repository and serves them, with the headers that huggingface_hub reads."""

    def log_message(self, *args) -> None:
        pass

    def do_HEAD(self) -> None:  # noqa: N802
        self.answer(with_content=False)

    def do_GET(self) -> None:  # noqa: N802
        self.answer(with_content=True)

    def answer(self, with_content: bool) -> None:
        files = self.server.files
        if self.path.startswith('/api/models/org/pets'):
            siblings = [dict(rfilename=name) for name in files]
            content = json.dumps(dict(id='org/pets', modelId='org/pets', sha=COMMIT, siblings=siblings)).encode()
        elif self.path.startswith('/org/pets/resolve/'):
            content = files[self.path.rpartition('/')[2]]
        else:
            self.send_response(404)
            self.send_header('X-Error-Code', 'RepoNotFound')
            self.send_header('Content-Length', '0')
            self.end_headers()
            return
        self.send_response(200)
        self.send_header('Content-Length', str(len(content)))
        self.send_header('X-Repo-Commit', COMMIT)
        self.send_header('ETag', f'"{hashlib.sha256(content).hexdigest()}"')
        self.end_headers()
        if with_content:
            self.wfile.write(content)


@pytest.fixture
def hub(server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    constants = pytest.importorskip('huggingface_hub').constants
    server.RequestHandlerClass = HubHandler
    monkeypatch.setattr(constants, 'ENDPOINT', server.url.rstrip('/'))
    monkeypatch.setattr('huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE', server.url + TEMPLATE)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hub'))
    return server
