"""The functions of ``import slide_deploy``, a file for each thing that they work on.

They wire the other packages as the command line does, and print nothing. ``networks`` loads, folds
and lowers; ``exporting`` writes files; ``files`` verifies, checks and runs them; ``measuring``
measures them; ``evaluating`` says how often they are right. ``arguments`` holds what their
arguments have in common.
"""
