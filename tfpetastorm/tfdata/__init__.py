"""The graph: TensorSpecs, the source op, batches, the user's structure. The only folder below the top that imports
TensorFlow."""
