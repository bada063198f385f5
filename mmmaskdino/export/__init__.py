"""Models as files for other runtimes; needs the extra ``export`` (onnx, onnxruntime, openvino)."""
