"""A model of the Hugging Face Hub, from a server of this machine that answers as the hub does."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config

from mmmaskdino.apis import Predictor
from mmmaskdino.apis.plain_config import PlainConfig
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
        if self.path.startswith('/api/models/org/pets/tree/'):
            tree = [dict(type='file', path=name, size=len(files[name]), oid=COMMIT) for name in files]
            content = json.dumps(tree).encode()
        elif self.path.startswith('/api/models/org/pets'):
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
    """The library as it is, but for the address of the hub and the folder of its files."""
    place = dict(endpoint=server.url.rstrip('/'), cache_dir=tmp_path / 'hub', token=False)
    real = huggingface_hub.snapshot_download
    monkeypatch.setattr(huggingface_hub, 'snapshot_download', functools.partial(real, **place))
    server.RequestHandlerClass = HubHandler
    return server


@pytest.fixture
def published(hub, config: Path, make_model) -> dict[str, bytes]:
    """What publish_model.py writes, for the parts that are read."""
    cfg = PlainConfig.of(Config.fromfile(config))
    buffer = io.BytesIO()
    meta = dict(cfg=cfg.pretty_text, dataset_meta=dict(classes=['cat', 'dog']))
    torch.save(dict(state_dict=make_model(cfg).state_dict(), meta=meta), buffer)
    entry = dict(address='pets-1a2b3c4d.pth', task='instance')
    hub.files.update(
        {
            'pets-1a2b3c4d.pth': buffer.getvalue(),
            'models.yml': yaml.safe_dump(dict(models=dict(pets=entry))).encode(),
            'config.py': b"raise SystemExit('code of others is not run')",
        }
    )
    return hub.files


def test_a_published_model_predicts(published) -> None:
    predictor = Predictor.from_hub('org/pets', device='cpu', score_thr=0.0)
    sample = predictor(np.zeros((64, 64, 3), np.uint8)).sample
    assert len(sample.pred_instances) and predictor.dataset_meta['classes'] == ['cat', 'dog']
    folder = fetch_published('org/pets')
    assert sorted(path.name for path in folder.iterdir()) == ['models.yml', 'pets-1a2b3c4d.pth'], 'no code comes along'


def test_offline_what_is_here_is_taken(published, server, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fetch_published('org/pets')
    monkeypatch.setenv('MMMASKDINO_OFFLINE', '1')
    server.files.clear()
    assert fetch_published('org/pets') == folder
    with pytest.raises(FetchError, match='org/cats cannot be fetched'):
        fetch_published('org/cats')


def test_what_is_no_model_of_this_package(published) -> None:
    del published['models.yml']
    with pytest.raises(FetchError, match='org/pets is no model of this package: it has no models.yml'):
        fetch_published('org/pets')


def test_what_is_not_there(hub) -> None:
    with pytest.raises(FetchError, match='org/cats cannot be fetched from the Hugging Face Hub: .*404'):
        fetch_published('org/cats')


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(FetchError, match=r'pip install "mmmaskdino\[hub\]"'):
        fetch_published('org/pets')
