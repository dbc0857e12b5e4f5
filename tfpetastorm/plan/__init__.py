"""From (epoch, position) to a read task: arithmetic on row counts, in NumPy alone."""
