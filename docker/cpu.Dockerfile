# The command on the CPU: docker build -f docker/cpu.Dockerfile -t mmmaskdino .
#   docker run --rm -v "$PWD:/work" mmmaskdino predict photos/ --config CONFIG --weights WEIGHTS --out results
FROM python:3.11-slim-bookworm
# An index with torch for the CPU alone, a tenth of the download.
ARG PIP_EXTRA_INDEX_URL=
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /mmmaskdino
COPY . .
RUN LOCKED=1 bash tools/setup_env.sh current
ENV PATH=/mmmaskdino/.venv/bin:$PATH OMP_NUM_THREADS=1
RUN useradd --create-home --uid 1000 user
USER 1000
WORKDIR /work
ENTRYPOINT ["mmmaskdino"]
CMD ["doctor"]
