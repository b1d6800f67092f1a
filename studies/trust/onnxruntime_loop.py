"""The simplest way to time a file with ONNX Runtime, without a benchmark.

    python onnxruntime_loop.py FILE THREADS SECONDS '[["image", "float32", [32, 3, 32, 32]]]'

It prints the median in nanoseconds. It deliberately imports nothing from this project.
"""

import json
import statistics
import sys
import time

import numpy as np
import onnxruntime

file, threads, seconds, inputs = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]

options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
session = onnxruntime.InferenceSession(file, options, ["CPUExecutionProvider"])
random = np.random.default_rng(0)
feed = {
    name: random.standard_normal(shape).astype(dtype) for name, dtype, shape in json.loads(inputs)
}

warm = time.perf_counter() + 0.2
while time.perf_counter() < warm:
    session.run(None, feed)

samples, end = [], time.perf_counter() + seconds
while time.perf_counter() < end:
    start = time.perf_counter_ns()
    session.run(None, feed)
    samples.append(time.perf_counter_ns() - start)
print(statistics.median(samples))
