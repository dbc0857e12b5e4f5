"""`petastorm.hdfs`: its connectors are replaced by `pyarrow.fs.HadoopFileSystem`."""
