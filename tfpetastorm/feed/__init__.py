"""From options to elements: what is read, in which order, and the columns of each element, all in NumPy."""
