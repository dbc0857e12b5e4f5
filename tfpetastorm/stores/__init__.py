"""Filesystems: from URLs to them, ranges of bytes, and trying again. Knows of no dataset."""
