"""Which lowering is fastest where: a table of what was measured, and a choice from it.

``table`` is the form of the table, ``store`` reads and writes it, ``choice`` chooses. Only
``choice`` needs torch. `docs/tuning.md` tells how the table is made.
"""
