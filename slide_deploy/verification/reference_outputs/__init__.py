"""The trained network's answers, stored beside an exported file to verify it on any device.

``record`` is what is stored, ``reference_file`` writes and reads it; docs/reference-outputs.md
describes the form. ``making`` fills it when a file is exported. ``proof`` holds an opened file
against it, ``checking`` a file on disk: both need no torch.
"""
