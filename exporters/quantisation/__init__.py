"""Files in float16 and int8: which operators are quantised, on which inputs, and how."""
