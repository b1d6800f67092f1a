"""Networks as they were trained. They know nothing of files, runtimes or graphs."""
