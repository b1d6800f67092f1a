"""A callable to numbers: written files timed on targets, compared and reported.

`record`, `targets` and `measuring` run on the device that is measured: they need Python, numpy and
the runtime, nothing else. The rest looks at what they recorded.
"""
