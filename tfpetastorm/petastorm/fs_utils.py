"""`petastorm.fs_utils`: from URLs to filesystems."""

from __future__ import annotations

from tfpetastorm.stores.petastorm_urls import FilesystemResolver as FilesystemResolver
from tfpetastorm.stores.petastorm_urls import get_dataset_path as get_dataset_path
from tfpetastorm.stores.petastorm_urls import get_filesystem_and_path_or_paths as get_filesystem_and_path_or_paths
from tfpetastorm.stores.petastorm_urls import normalize_dir_url as normalize_dir_url
