"""What takes exporters and benchmarks together: the command line and the Python API share it.

``options`` says what the words of a user mean; ``contests`` and ``tune_first`` race forms of the
attention as files, and ``suite_files`` makes the files of a suite.
"""
