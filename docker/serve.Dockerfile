# The service, on one of the other images: docker build -f docker/serve.Dockerfile --build-arg BASE=mmmaskdino -t mmmaskdino:serve docker
#   docker run --rm -p 8000:8000 -v "$PWD:/work" mmmaskdino:serve --model work_dirs/pets
ARG BASE=mmmaskdino
# hadolint ignore=DL3006
FROM ${BASE}
USER 0
# Into the environment of the base image, whether or not it has a pip of its own.
RUN python -m ensurepip --upgrade && python -m pip install --no-cache-dir "fastapi>=0.112,<1" "uvicorn>=0.29,<1"
USER 1000
EXPOSE 8000
HEALTHCHECK --start-period=120s CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health')"]
ENTRYPOINT ["mmmaskdino", "serve", "--host", "0.0.0.0"]
