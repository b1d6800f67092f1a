"""OpenVINO: one list of devices, and what they share."""
