"""Results from contributors' devices: the checks, and the page that shows them."""
