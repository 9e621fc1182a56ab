"""The whole step as one graph that runs without Python: compiled, as an ONNX file, beside a script, in a web page."""
