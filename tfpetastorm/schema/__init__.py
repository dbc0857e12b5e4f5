"""What a dataset's fields are, and how one column of them is encoded, decoded and held in memory."""
