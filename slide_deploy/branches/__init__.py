"""Sums and chains of convolutions as one convolution.

``shapes`` says which may be put together and what comes of it, ``kernels`` computes the weights,
``operators`` and ``terms`` find them in a traced program, ``plan`` decides what pays, and ``proof``
measures the outcome. ``slide_deploy.passes.parallel_branches`` rewrites programs with them.
"""
