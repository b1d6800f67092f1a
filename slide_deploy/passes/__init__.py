"""Rewrites of a traced program, one per file.

A pass is a module with a function ``rewrite(editor, report)``. Its docstring gives the algebra, the
pattern that it looks for and the cases that it refuses. ``run_passes`` in ``running.py`` runs the
passes that a format lists in ``slide_deploy.formats``, in that order.
"""
