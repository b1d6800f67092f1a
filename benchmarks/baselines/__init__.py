"""Baselines for our files: the same computation in other code, exported without slide-deploy."""
