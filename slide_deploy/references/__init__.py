"""What a trained network answers, stored beside its file: any device proves the file with it.

``record`` is what is stored, ``reference_file`` writes and reads it; docs/reference-outputs.md
describes the form. ``making`` fills it when a file is exported. ``proof`` holds an opened file
against it, ``checking`` a file on disk: both need no torch.
"""
