"""Verify that a file computes what its network computes.

``cases`` builds the inputs from the random numbers of ``draws``. ``trained_outputs`` runs the
network in float64, ``parity`` compares two outputs, and ``verify`` does all of this for one file.
``divergence`` finds the first layer that differs. ``noise`` measures how much each layer suffers
from quantisation. ``dataflow`` finds the layers that a value depends on. ``reference_outputs``
stores the network's outputs beside a file, so that a device without PyTorch can verify it.
"""
