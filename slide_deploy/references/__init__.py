"""What a trained network answers, stored beside its file: any device proves the file with it.

``draws`` makes the inputs again from their recipes, in any language. ``record`` is what is stored,
``reference_file`` writes and reads it; docs/reference-outputs.md describes the form. ``proof``
holds an opened file against it. Importable without torch.
"""
