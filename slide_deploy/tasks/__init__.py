"""Work that needs exporters and benchmarks together; the command line and the Python API share it.

``options`` and ``choices`` interpret what users write. ``contests`` and ``tune_first`` race forms
of the attention. ``suite_files``, ``pass_files`` and ``quantised_files`` write files of benchmarks.
"""
