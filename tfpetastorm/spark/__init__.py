"""Spark writes what outgrows one machine. pyspark, the extra `spark`, is imported only when it is needed."""
