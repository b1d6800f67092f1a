"""Our own measurements: each folder writes one page of ``docs/``.

The Makefile runs them from a checkout. They may import everything. They are not installed, and
nothing that is installed imports them.
"""
