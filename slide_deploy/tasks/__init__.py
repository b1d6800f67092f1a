"""Work that needs exporters and benchmarks together; the command line and the Python API share it.

``options`` and ``choices`` interpret what users write. ``contests`` and ``tune_first`` race forms
of the attention. ``suite_files`` writes the files of a benchmark suite. ``fold_file`` folds an
``.onnx`` file. ``proofs`` selects what a file is proved with.
"""
