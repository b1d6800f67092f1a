"""OpenVINO on its CPU, GPU, NPU and AUTO devices, without its reports to Intel.

OpenVINO sends the operators of every network that it converts to Google Analytics, unless its user
has opted out or this library is missing. For each message it forks the process, which takes a third
of the time of a small export.
"""

import sys

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
