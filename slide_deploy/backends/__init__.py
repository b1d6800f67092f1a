"""A written file on a device: one folder a runtime.

Verification, tuning and benchmarks open files here. Importable without torch; each runtime's
library is imported when a file is opened.
"""
