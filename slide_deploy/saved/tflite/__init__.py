"""Read ``.tflite`` files safely, without LiteRT and without a FlatBuffers library."""
