"""A network that is ready to be deployed. Every later step takes its record, a ``Deployable``.

``record`` defines it. ``module`` creates one from any ``torch.nn.Module``, ``trained`` from a
checkpoint, and ``factory`` from code that the user names. ``inputs`` does not import torch.
"""
