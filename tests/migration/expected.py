"""Which of petastorm's published tests fail here, and why they have to. Any other failure is a fault of ours."""

from __future__ import annotations

#: Files that are not run at all.
NOT_RUN = {
    "test_fs_utils.py": "imports s3fs, gcsfs and petastorm's HDFS mocks; our own tests cover FilesystemResolver",
    "test_reading_legacy_datasets.py": "its datasets are not in petastorm's package; our own tests read golden ones",
    "test_common.py": "holds no tests",
    "test_end_to_end_predicates_impl.py": "holds no tests",
    "test_pytorch_utils.py": "tests the private collating functions of petastorm's loaders",
    "test_arrow_table_serializer.py": "tests how petastorm's processes talk",
    "test_pickle_serializer.py": "tests how petastorm's processes talk",
}

_POOL = "looks into petastorm's workers, of which there are none"
_TENSORS = "calls tf_tensors, which an error replaces that shows the new call"
_TOOLS = "calls what pyarrow, pandas or pytest no longer have"
_ORDER = "sets a private variable to have fields sorted, which petastorm gave up in 0.9"
_LISTS = "declares a ScalarCodec of lists, which is refused at once"

#: By the name of the test in its file, "file::test"; all its parameters fail. "file::test[parameters]" is one of them.
EXPECTED = {
    "test_end_to_end.py::test_fail_if_resetting_in_the_middle_of_epoch": "a reader can be reset at any moment",
    "test_end_to_end.py::test_predicate_on_multiple_fields_batched": _TOOLS,
    "test_generate_metadata.py::test_regenerate_metadata": _TOOLS,
    "test_generate_metadata.py::test_regenerate_using_row_group_summary_metadata": _TOOLS,
    "test_ngram_end_to_end.py::test_ngram_basic_longer_shuffle_multi_partition_tf": _TENSORS,
    "test_ngram_end_to_end.py::test_ngram_basic_longer_tf": _TENSORS,
    "test_ngram_end_to_end.py::test_ngram_basic_shuffle_multi_partition_tf": _TENSORS,
    "test_ngram_end_to_end.py::test_ngram_basic_tf": _TENSORS,
    "test_ngram_end_to_end.py::test_ngram_delta_small_threshold_tf": _TENSORS,
    "test_ngram_end_to_end.py::test_ngram_delta_threshold": "n-grams go on across row groups; petastorm lost those",
    "test_ngram_end_to_end.py::test_ngram_delta_threshold_tf": _TENSORS,
    "test_ngram_end_to_end.py::test_ngram_length_1_tf": _TENSORS,
    "test_ngram_end_to_end.py::test_non_consecutive_ngram": _TENSORS,
    "test_ngram_end_to_end.py::test_shuffled_fields": _TENSORS,
    "test_parquet_reader.py::test_asymetric_parquet_pieces": _TOOLS,
    "test_parquet_reader.py::test_convert_arrow_table_to_numpy_dict_consistent_list_lengths": _LISTS,
    "test_parquet_reader.py::test_convert_arrow_table_to_numpy_dict_inconsistent_list_lengths": _LISTS,
    "test_parquet_reader.py::test_results_queue_size_propagation_in_make_batch_reader": _POOL,
    "test_parquet_reader.py::test_shuffle_cache_num_rows_zero": _POOL,
    "test_parquet_reader.py::test_shuffle_cache_pyarrow_num_rows_zero": _POOL,
    "test_parquet_reader.py::test_transform_spec_support_return_tensor": _POOL,
    "test_parquet_reader.py::test_transform_spec_support_return_tensor_with_convert_early_to_numpy": _POOL,
    "test_reader_mock.py::ReaderMockTest::test_simple_read_tf": _TENSORS,
    "test_spark_dataset_converter.py::test_atexit": _TOOLS,
    "test_spark_dataset_converter.py::test_torch_transform_spec": "makes floats of integers without declaring it",
    "test_tf_dataset.py::test_with_dataset_repeat_after_cache": _TOOLS,
    "test_tf_utils.py::test_schema_to_dtype_list": _ORDER,
    "test_tf_utils.py::test_shuffling_queue": _TENSORS,
    "test_tf_utils.py::test_shuffling_queue_with_ngrams": _TENSORS,
    "test_tf_utils.py::test_simple_ngram_read_tensorflow": _TENSORS,
    "test_tf_utils.py::test_simple_read_tensorflow": _TENSORS,
    "test_tf_utils.py::test_simple_read_tensorflow_with_non_petastorm_many_columns_dataset": _TENSORS,
    "test_tf_utils.py::test_simple_read_tensorflow_with_parquet_dataset": _TENSORS,
    "test_tf_utils.py::test_transform_function_new_field": _TENSORS,
    "test_tf_utils.py::test_transform_function_new_field_batched": _TENSORS,
    "test_unischema.py::test_arrow_schema_convertion_with_int_partitions": _TOOLS,
    "test_unischema.py::test_arrow_schema_convertion_with_string_partitions": _TOOLS,
    "test_unischema.py::test_match_unischema_fields_legacy_warning": _TOOLS,
    "test_weighted_sampling_reader.py::test_ngram_mix": _TENSORS,
    "test_weighted_sampling_reader.py::test_with_tf_tensors": _TENSORS,
}
