"""`petastorm.pyarrow_helpers`."""
