"""Making datasets: rows or columns in, files and their metadata out, committed at once."""
