"""A network that is ready to be deployed, wherever it came from: what every later step takes.

``record`` has the record, ``module`` makes one of any ``torch.nn.Module``, ``trained`` of a
checkpoint and ``factory`` of code that the user names. ``inputs`` needs no torch.
"""
