# The command on GPUs: docker build -f docker/cuda.Dockerfile -t mmmaskdino:cuda .
#   docker run --rm --gpus all --shm-size 8g -v "$PWD:/work" mmmaskdino:cuda train CONFIG --amp
# The image's CUDA must be the one that torch of requirements/current.txt was built with; mmcv is compiled with its nvcc.
ARG CUDA=13.0.1
FROM nvidia/cuda:${CUDA}-cudnn-devel-ubuntu24.04
# Of the GPUs: 8.0 A100, 8.6 RTX 30, 8.9 RTX 40 and L4, 9.0 H100.
ARG TORCH_CUDA_ARCH_LIST="8.0;8.6;8.9;9.0"
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv python3-dev g++ libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /mmmaskdino
COPY . .
RUN PYTHON=python3 FORCE_CUDA=1 bash .ci/install_with_pip.sh /opt/maskdino ".[current]"
ENV PATH=/opt/maskdino/bin:$PATH
USER 1000
WORKDIR /work
ENTRYPOINT ["mmmaskdino"]
CMD ["doctor"]
