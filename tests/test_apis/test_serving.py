"""A service on a real socket."""

from __future__ import annotations

import http.client
import io
import json
import resource
import socket
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pytest
import uvicorn
from PIL import Image
from pycocotools import mask as coco_mask

from mmmaskdino.apis import Limits, Predictor
from mmmaskdino.apis.serving import Batcher, ServiceLimits, build_service
from mmmaskdino.cli.main import run_command

LIMITS = ServiceLimits(max_megabytes=0.1, seconds=20, max_waiting=16, batch_size=4)


class Answer(NamedTuple):
    status: int
    kind: str
    body: bytes


def image_bytes(size: tuple[int, int] = (40, 60), seed: int = 0) -> bytes:
    file = io.BytesIO()
    values = np.random.default_rng(seed).integers(255, size=(5, 7, 3), dtype=np.uint8)
    Image.fromarray(values).resize(size[::-1], Image.Resampling.BICUBIC).save(file, 'png')
    return file.getvalue()


def huge_header() -> bytes:
    """A PNG that says it has 10 000 megapixels."""
    header = struct.pack('>IIBBBBB', 100_000, 100_000, 8, 2, 0, 0, 0)
    chunks = [(b'IHDR', header), (b'IDAT', zlib.compress(bytes(100)))]
    parts = [
        struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data)) for name, data in chunks
    ]
    return b'\x89PNG\r\n\x1a\n' + b''.join(parts)


@pytest.fixture(scope='module')
def predictor(model_files) -> Predictor:
    files = model_files('panoptic')
    return Predictor(*files, device='cpu', score_thr=0.0, max_per_image=3, limits=Limits(max_megapixels=1))


@pytest.fixture(scope='module')
def port(predictor: Predictor) -> Iterator[int]:
    """Of a running service."""
    server = uvicorn.Server(uvicorn.Config(build_service(predictor, LIMITS), port=0, log_level='warning'))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(30)
    assert not thread.is_alive()


def ask(port: int, path: str, body: bytes | None = None) -> Answer:
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
    connection.request('GET' if body is None else 'POST', path, body)
    answer = connection.getresponse()
    return Answer(answer.status, answer.headers.get_content_type(), answer.read())


def test_json_is_what_the_predictor_gives(port: int, predictor: Predictor) -> None:
    content = image_bytes()
    answer = ask(port, '/predict', content)
    assert (answer.status, answer.kind) == (200, 'application/json')
    found, wanted = json.loads(answer.body), predictor(content)
    assert (found['height'], found['width']) == (40, 60)
    instances = wanted.sample.pred_instances
    assert len(found['instances']) == len(instances) == 3
    for entry, mask, score in zip(found['instances'], instances.masks, instances.scores, strict=True):
        assert np.array_equal(coco_mask.decode(entry['segmentation']), mask.numpy())
        assert entry['score'] == pytest.approx(float(score), abs=1e-5)
    ids, labels = wanted.segments()
    assert [segment['category_id'] - 1 for segment in found['panoptic']] == labels
    for segment in found['panoptic']:
        assert np.array_equal(coco_mask.decode(segment['segmentation']), ids == segment['id'])
    for entry in found['semantic']:
        assert np.array_equal(coco_mask.decode(entry['segmentation']), wanted.labels() == entry['category_id'] - 1)
        assert entry['category'] == predictor.dataset_meta['classes'][entry['category_id'] - 1]
    few = json.loads(ask(port, '/predict?kind=instances&masks=false', content).body)
    assert set(few) == {'height', 'width', 'instances'} and 'segmentation' not in few['instances'][0]


def test_a_picture(port: int) -> None:
    answer = ask(port, '/predict?result=picture&kind=instances', image_bytes())
    assert (answer.status, answer.kind) == (200, 'image/jpeg')
    assert Image.open(io.BytesIO(answer.body)).size == (60, 40)


def test_health_and_description(port: int, predictor: Predictor) -> None:
    health = json.loads(ask(port, '/health').body)
    assert health['status'] == 'ok' and health['classes'] == list(predictor.dataset_meta['classes'])
    assert b'swagger' in ask(port, '/docs').body
    answer = ask(port, '/')  # what people open in a browser: on to the description
    assert answer.status == 307
    operation = json.loads(ask(port, '/openapi.json').body)['paths']['/predict']['post']
    assert 'application/octet-stream' in operation['requestBody']['content']
    assert {'200', '400', '408', '413', '500', '503', '504'} <= set(operation['responses'])


@pytest.mark.parametrize(
    ('path', 'body', 'status', 'reason'),
    [
        ('/predict', b'', 400, 'the body is empty; send the bytes of an image file'),
        ('/predict', b'Dear reader', 400, 'image: not an image that can be read'),
        ('/predict', image_bytes((300, 300))[:2000], 400, 'image: '),
        ('/predict', huge_header(), 400, 'the limit is 1'),
        ('/predict', bytes(200_000), 413, 'the body has more than 0.1 megabytes'),
        ('/predict?result=film', image_bytes(), 422, "Input should be 'json' or 'picture'"),
    ],
    ids=['empty', 'text', 'cut', 'huge', 'large', 'option'],
)
def test_bad_requests(port: int, path: str, body: bytes, status: int, reason: str) -> None:
    answer = ask(port, path, body)
    assert answer.status == status and reason in answer.body.decode()


def test_a_form(port: int) -> None:
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
    connection.request('POST', '/predict', b'--x--', {'Content-Type': 'multipart/form-data; boundary=x'})
    answer = connection.getresponse()
    assert answer.status == 415 and b'send the bytes of the file alone' in answer.read()


def test_load(port: int) -> None:
    """200 requests of 8 clients, a third of them broken, beside clients that hang: all are answered, in flat memory."""
    good, cut = [image_bytes(seed=seed) for seed in range(4)], image_bytes((300, 300))[:2000]
    hanging = [socket.create_connection(('127.0.0.1', port)) for _ in range(4)]
    for connection in hanging:  # a body of which nothing comes
        connection.sendall(b'POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n')

    def send(number: int) -> tuple[int, int]:
        if number % 10 == 9:  # gone before the answer
            with socket.create_connection(('127.0.0.1', port)) as connection:
                head = f'POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(good[0])}\r\n\r\n'
                connection.sendall(head.encode() + good[0])
            return 0, 0
        body = cut if number % 3 == 2 else bytes(200_000) if number % 10 == 4 else good[number % 4]
        expected = 400 if body is cut else 413 if len(body) > 100_000 else 200
        return expected, ask(port, f'/predict?result={("json", "picture")[number % 2]}', body).status

    def run(numbers: range) -> Counter[tuple[int, int]]:
        with ThreadPoolExecutor(8) as clients:
            return Counter(clients.map(send, numbers))

    run(range(40))  # what is made once is there then
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answers = run(range(200))
    assert sum(answers.values()) == 200
    assert all(expected == status for expected, status in answers), answers
    assert answers[200, 200] > 100 and answers[400, 400] > 50 and answers[413, 413] > 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes
    for connection in hanging:
        connection.close()
    assert ask(port, '/predict', good[0]).status == 200


class StubPredictor:
    """Waits, or fails, or says how many images came together."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.go_on = threading.Event()

    def predict(self, images: list, batch_size: int) -> Iterator[int]:
        self.batches.append(len(images))
        self.go_on.wait(30)
        for _, content in images:
            if content == b'fault':
                raise RuntimeError('no luck')
            yield len(images)


def test_what_waits_goes_together_and_a_fault_ends_nothing() -> None:
    stub = StubPredictor()
    batcher = Batcher(stub, batch_size=3, max_waiting=8)
    first = batcher.submit(b'a')
    while not stub.batches:
        time.sleep(0.01)
    rest = [batcher.submit(content) for content in (b'b', b'fault', b'c', b'd', b'e')]
    assert rest[3].cancel()
    stub.go_on.set()
    assert first.result(30) == 1 and rest[0].result(30) == 3
    for lost in rest[1:3]:
        with pytest.raises(RuntimeError, match='no luck'):
            lost.result(30)
    assert rest[4].result(30) == 1 and batcher.is_alive
    batcher.close()
    assert stub.batches == [1, 3, 1] and not batcher.is_alive


@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
def test_the_end_does_not_wait_for_a_thread_that_is_gone() -> None:
    class Dying:
        def predict(self, images: list, batch_size: int) -> Iterator[int]:
            raise SystemExit

    batcher = Batcher(Dying(), batch_size=1, max_waiting=1)
    batcher.submit(b'a')
    batcher._thread.join(30)
    batcher._waiting.put_nowait((b'b', Future()))  # nobody takes it
    batcher.close()


def test_limits_of_time_and_of_waiting(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits too long gets an answer, and so does whoever is one too many."""
    free = threading.Event()
    original = Predictor.predict

    def slow(self, images, batch_size):
        free.wait(60)
        return original(self, images, batch_size)

    monkeypatch.setattr(Predictor, 'predict', slow)
    limits = ServiceLimits(seconds=1.5, max_waiting=1, batch_size=1)
    server = uvicorn.Server(uvicorn.Config(build_service(predictor, limits), port=0, log_level='warning'))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    with ThreadPoolExecutor(6) as clients:
        answers = list(clients.map(lambda _: ask(port, '/predict', image_bytes()), range(6)))
    found = Counter(answer.status for answer in answers)
    assert set(found) == {503, 504} and b'no result within 1.5 seconds' in {a.body[11:39] for a in answers}
    with socket.create_connection(('127.0.0.1', port)) as connection:
        connection.sendall(b'POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\nbegin')
        assert b' 408 ' in connection.recv(100)
    free.set()
    while json.loads(ask(port, '/health').body)['waiting']:
        time.sleep(0.01)
    assert ask(port, '/predict', image_bytes()).status == 200
    server.should_exit = True
    thread.join(30)


def test_command_line(model_files, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    files = model_files('panoptic')
    argv = ['--config', str(files.config), '--weights', str(files.weights), '--device', 'cpu']
    served = {}
    monkeypatch.setattr(uvicorn, 'run', lambda app, **options: served.update(options, title=app.title))
    assert run_command('serve', [*argv, '--port', '0', '--max-waiting', '5']) == 0
    assert served == dict(title='Mask DINO', host='127.0.0.1', port=0, limit_concurrency=26)
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit, match=rf'serve: cannot listen on 127.0.0.1, port {port} \(.*--port'):
            run_command('serve', [*argv, '--port', str(port)], 'serve')
    with pytest.raises(SystemExit, match='--seconds must be above 0, got -1'):
        run_command('serve', [*argv, '--seconds', '-1'])
    with pytest.raises(SystemExit, match='--max-megapixels must be above 0, got 0'):
        run_command('serve', [*argv, '--max-megapixels', '0'])
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(SystemExit, match=r'pip install "mmmaskdino\[serve\]"'):
        run_command('serve', argv)
