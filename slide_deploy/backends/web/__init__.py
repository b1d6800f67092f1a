"""ONNX Runtime Web in the system's browser: WebAssembly, WebGPU and WebNN.

The folder ``page`` holds the JavaScript, which the benchmark's own page uses too.
"""
