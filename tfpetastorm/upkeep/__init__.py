"""What is done to whole datasets rather than with their rows: copying, checking, mending their metadata."""
