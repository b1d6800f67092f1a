"""Reads a ``.tflite`` file safely, without LiteRT and without a FlatBuffers library."""
