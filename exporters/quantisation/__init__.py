"""Files of low precision: which operators are quantised, on which inputs, and how."""
