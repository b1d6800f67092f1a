"""The tuning table, which records measured latencies of lowerings, and the choice from it.

``table`` defines the entries, ``store`` reads and writes tables, and ``choice`` chooses a lowering.
Only ``choice`` needs torch. `docs/tuning.md` explains how the table is made.
"""
