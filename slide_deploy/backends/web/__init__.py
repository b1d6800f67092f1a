"""ONNX Runtime Web in the system's browser: WebAssembly, WebGPU and WebNN.

``page`` holds what runs in the browser. The benchmark's own page uses the same modules.
"""
