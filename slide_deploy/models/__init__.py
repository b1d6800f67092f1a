"""Networks as they were trained. This package does not depend on files, runtimes or graphs."""
