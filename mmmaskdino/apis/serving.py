"""A service: images come by HTTP, results go back. FastAPI does the web, `Predictor` the work, in batches."""

from __future__ import annotations

import asyncio
import io
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Literal, NamedTuple

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from PIL import Image

from mmmaskdino.apis.inference import Failure, Prediction, Predictor
from mmmaskdino.apis.inference.records import record_of
from mmmaskdino.version import __version__

IMAGE = 'image'  # what messages call it
_KIND = Literal['panoptic', 'instances', 'semantic']
_BODY = {
    'requestBody': {
        'required': True,
        'description': 'The bytes of an image file.',
        'content': {'application/octet-stream': {'schema': {'type': 'string', 'format': 'binary'}}},
    }
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {'description': 'The results, or the picture', 'content': {'application/json': {}, 'image/jpeg': {}}},
    400: {'description': 'The body is no image, damaged or of too many pixels'},
    408: {'description': 'The body did not arrive in time'},
    413: {'description': 'The body is too large'},
    415: {'description': 'The body is a form'},
    500: {'description': 'The prediction failed, for example for lack of memory'},
    503: {'description': 'Too many images are waiting; try again'},
    504: {'description': 'There was no result in time'},
}


class ServiceLimits(NamedTuple):
    """What a service bears."""

    max_megabytes: float = 30
    """Largest body of a request."""
    seconds: float = 60
    """For the body to arrive, and again for the result."""
    max_waiting: int = 32
    """Images that wait; more are rejected at once."""
    batch_size: int = 4
    """Most images that are predicted together."""


class BusyError(Exception):
    """Too many images are waiting."""


class Batcher:
    """Predicts in one thread for many callers: what waits at the same time goes through the model together.

    Args:
        predictor: The model.
        batch_size: Most images together.
        max_waiting: Images that may wait.
    """

    def __init__(self, predictor: Predictor, batch_size: int, max_waiting: int) -> None:
        self._predictor, self._batch_size = predictor, batch_size
        self._waiting: queue.Queue[tuple[bytes, Future] | None] = queue.Queue(max_waiting)
        self._thread = threading.Thread(target=self._run, name='predict', daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it works."""
        return self._thread.is_alive()

    @property
    def num_waiting(self) -> int:
        """Images that wait for their turn."""
        return self._waiting.qsize()

    def submit(self, content: bytes) -> Future[Prediction | Failure]:
        """Let an image file be predicted. A future that is cancelled before its turn costs nothing.

        Raises:
            BusyError: Too many are waiting.
        """
        future: Future[Prediction | Failure] = Future()
        try:
            self._waiting.put_nowait((content, future))
        except queue.Full as error:
            raise BusyError from error
        return future

    def close(self) -> None:
        """End the thread when all that waits is done."""
        while self._thread.is_alive():  # else nothing takes from the queue any more
            try:
                self._waiting.put(None, timeout=1)
                break
            except queue.Full:
                continue
        self._thread.join()

    def _run(self) -> None:
        while True:
            jobs = [self._waiting.get()]
            while len(jobs) < self._batch_size and not self._waiting.empty():
                jobs.append(self._waiting.get())
            wanted = [job for job in jobs if job is not None and job[1].set_running_or_notify_cancel()]
            if wanted:
                self._predict(wanted)
            if None in jobs:
                return

    def _predict(self, jobs: list[tuple[bytes, Future]]) -> None:
        images = [(IMAGE, content) for content, _ in jobs]
        futures = [future for _, future in jobs]
        try:
            for result in self._predictor.predict(images, self._batch_size):
                futures.pop(0).set_result(result)
        except Exception as error:  # a fault of this program; the next images may fare better
            for future in futures:
                future.set_exception(error)


def build_service(predictor: Predictor, limits: ServiceLimits | None = None) -> FastAPI:
    """The service of one model.

    Args:
        predictor: The model.
        limits: What it bears.

    Returns:
        To be run by uvicorn or any other ASGI server. `POST /predict` takes an image file, `GET /health` tells the
        state, `/docs` shows both.
    """
    limits = limits or ServiceLimits()
    worker = _Worker(predictor, limits)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        worker.close()

    app = FastAPI(title='Mask DINO', version=__version__, lifespan=lifespan)

    @app.get('/health')
    def health() -> Response:
        """Whether images are predicted, what the model gives, and how many images wait."""
        state = dict(status='ok' if worker.batcher.is_alive else 'failed', **worker.describe())
        return JSONResponse(state, 200 if worker.batcher.is_alive else 503)

    @app.post('/predict', openapi_extra=_BODY, responses=_ANSWERS)
    async def predict(
        request: Request, result: Literal['json', 'picture'] = 'json', kind: _KIND | None = None, masks: bool = True
    ) -> Response:
        """Predict for the image file in the body.

        `result`: `json` for a list of objects by kind, `picture` for a JPEG with the results on it. `kind`: this kind
        of results alone (a picture without it shows the first one that the model gives). `masks`: whether the JSON has
        the masks, as COCO's RLE.
        """
        kinds = predictor.kinds
        if kind is not None and kind not in kinds:
            raise HTTPException(400, f'the model gives {", ".join(kinds)}, no {kind}')
        prediction = await worker.predict(await _read_body(request, limits))
        if result == 'picture':
            return Response(await worker.render(_as_jpeg, prediction, kind), media_type='image/jpeg')
        wanted = kinds if kind is None else (kind,)
        return Response(await worker.render(_as_json, prediction, wanted, masks), media_type='application/json')

    return app


class _Worker:
    """Between the requests and the model."""

    def __init__(self, predictor: Predictor, limits: ServiceLimits) -> None:
        self._predictor, self._limits = predictor, limits
        self.batcher = Batcher(predictor, limits.batch_size, limits.max_waiting)
        self._renderer = ThreadPoolExecutor(1, 'render')  # beside the next prediction, and one at a time

    def describe(self) -> dict[str, Any]:
        """What the model gives."""
        classes = list(self._predictor.dataset_meta['classes'])
        return dict(results=list(self._predictor.kinds), classes=classes, waiting=self.batcher.num_waiting)

    async def predict(self, content: bytes) -> Prediction:
        """The results, or the error that the client gets."""
        try:
            future = self.batcher.submit(content)
        except BusyError as error:
            detail = f'{self._limits.max_waiting} images are waiting; try again'
            raise HTTPException(503, detail, {'Retry-After': '1'}) from error
        try:
            found = await asyncio.wait_for(asyncio.wrap_future(future), self._limits.seconds)
        except asyncio.TimeoutError as error:
            raise HTTPException(504, f'no result within {self._limits.seconds:g} seconds') from error
        if isinstance(found, Failure):
            raise HTTPException(500 if found.is_internal else 400, found.reason)
        return found

    async def render(self, function: Callable[..., bytes], *args: Any) -> bytes:
        """What a function makes of results, without holding up the other requests."""
        return await asyncio.get_running_loop().run_in_executor(self._renderer, function, *args)

    def close(self) -> None:
        """End the threads."""
        self.batcher.close()
        self._renderer.shutdown()


async def _read_body(request: Request, limits: ServiceLimits) -> bytes:
    """The body, as far as it may be."""
    most = int(limits.max_megabytes * 1e6)
    too_large = HTTPException(413, f'the body has more than {limits.max_megabytes:g} megabytes')
    if request.headers.get('content-type', '').startswith('multipart/'):
        raise HTTPException(415, 'the body is a form; send the bytes of the file alone (curl --data-binary @photo.jpg)')
    if int(request.headers.get('content-length') or 0) > most:
        raise too_large
    content = bytearray()
    deadline = time.monotonic() + limits.seconds
    parts = request.stream().__aiter__()
    while True:
        try:
            part = await asyncio.wait_for(parts.__anext__(), deadline - time.monotonic())
        except StopAsyncIteration:
            break
        except asyncio.TimeoutError as error:
            raise HTTPException(408, f'the body did not arrive within {limits.seconds:g} seconds') from error
        content += part
        if len(content) > most:
            raise too_large
    if not content:
        raise HTTPException(400, 'the body is empty; send the bytes of an image file (curl --data-binary @photo.jpg)')
    return bytes(content)


def _as_jpeg(prediction: Prediction, kind: str | None) -> bytes:
    file = io.BytesIO()
    Image.fromarray(prediction.draw(kind)).save(file, 'jpeg', quality=92)
    return file.getvalue()


def _as_json(prediction: Prediction, kinds: tuple[str, ...], masks: bool) -> bytes:
    record = record_of(prediction, IMAGE, kinds, masks=kinds if masks else ())
    del record['file_name']
    return JSONResponse(record).body
