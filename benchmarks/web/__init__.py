"""The benchmark page: a browser verifies and times files on its own device.

``page`` and the modules of `slide_deploy.backends.web` contain the code for the browser.
"""
