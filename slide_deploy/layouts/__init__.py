"""Where the channels of a value stand: which stretches of a program could be written either way.

``roles`` reads what an operator does to the channels and the positions of a map, ``stretches``
decides which operators gain by channels first, ``maps`` writes them so.
"""
