"""The benchmark's page: any browser proves and times files on its own device.

``page`` holds what runs in the browser, beside the modules of `slide_deploy.backends.web`.
"""
