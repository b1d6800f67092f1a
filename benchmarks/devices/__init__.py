"""Results that people sent in from their devices, checked, and the page that shows them."""
