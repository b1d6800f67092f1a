"""Fold the branches of slide attention into one depthwise convolution.

Three levels are separate: ``formulas`` is arithmetic on tensors without modules, ``layer`` folds
one attention, and ``model`` folds a whole network and proves the result. ``merging`` merges sums
and chains of convolutions of a network in memory. ``surgery`` copies networks and replaces modules.
"""
