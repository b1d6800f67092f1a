"""Folding: the branches of slide attention become one depthwise convolution.

Three levels are kept apart: ``formulas`` is arithmetic on tensors and knows no modules, ``layer``
folds one attention, and ``model`` folds a whole network and proves it. ``merging`` folds sums and
chains of convolutions in a network in memory. ``surgery`` and ``wrappers`` copy networks.
"""
