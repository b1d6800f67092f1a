"""Merge sums and chains of convolutions into one convolution.

``shapes`` decides which convolutions can be merged and gives the shape of the result, ``kernels``
computes the weights, ``operators`` and ``terms`` find them in a traced program, ``plan`` decides
which merges pay, and ``proof`` measures the error. ``slide_deploy.passes.parallel_branches``
rewrites programs with them.
"""
