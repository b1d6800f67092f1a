"""Whether a file computes what its network computes.

``cases`` are the inputs, made by ``draws``. ``trained_outputs`` runs the network in float64,
``parity`` compares two outputs, and ``verify`` does all three for a file. ``divergence`` finds the
first layer that differs, ``noise`` the layers that quantisation disturbs, with ``dataflow`` to tell
which layers a value depends on. ``reference_outputs`` stores the outputs beside a file, so
that a device without PyTorch can prove it.
"""
