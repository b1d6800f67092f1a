"""Networks of several families, written as their authors publish them."""
