"""Verify one file against another one, which states the true outputs. Needs no PyTorch.

``pairing`` pairs the inputs and outputs of the two files. ``shared_inputs`` makes inputs that both
take; ``index_range`` finds which integers are valid. ``verify`` runs both files and compares.
``first_difference`` finds the first value of one file that the other does not compute.

    from slide_deploy.verification.two_files.verify import verify_against_file

    verification = verify_against_file(Path("folded.onnx"), Path("input.onnx"))
    verification.passed, verification.failures, verification.worst.max_relative
"""
