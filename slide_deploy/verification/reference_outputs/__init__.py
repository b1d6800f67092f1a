"""The trained network's outputs, stored beside an exported file to verify it on any device.

``record`` defines what is stored, ``reference_file`` writes and reads it, and
docs/reference-outputs.md describes the format. ``making`` fills it during an export. ``proof``
verifies an opened file, ``checking`` a file on disk; neither needs torch.
"""
