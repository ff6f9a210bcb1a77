"""Export of a segmentor to one ONNX file."""
