"""UnischemaExampleGen: which files make a split, how they get into the artifact, and how rows are split."""
