"""Rewrites of a traced program, one a file: what each looks for, why it is exact, when it refuses.

A pass is a module with a function ``rewrite(editor, report)``. ``run_passes`` in ``running.py``
calls those that a format names in ``slide_deploy.formats``, in that order.
"""
