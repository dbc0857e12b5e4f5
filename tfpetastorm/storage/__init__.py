"""Which files belong to a dataset, what their footers say, and writing them."""
