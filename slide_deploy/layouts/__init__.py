"""Decide which operators on tokens to rewrite as NCHW feature maps, and rewrite them.

``roles`` reads what an operator does to the channels and positions of a feature map, ``stretches``
decides which operators gain by the NCHW layout, and ``nchw`` rewrites them.
"""
