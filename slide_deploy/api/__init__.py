"""The public functions of ``import slide_deploy``, one file for each subject.

They connect the other packages as the command line does, and print nothing. ``networks`` loads,
folds and lowers; ``exporting`` writes files; ``files`` verifies, checks and runs them;
``measuring`` benchmarks them; ``evaluating`` measures their accuracy. ``arguments`` converts
arguments that several functions share.
"""
