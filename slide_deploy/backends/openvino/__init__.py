"""OpenVINO on its CPU, GPU, NPU and AUTO devices."""
