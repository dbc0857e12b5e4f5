"""`petastorm.test_util`: readers without a dataset, and how well an order is mixed."""
