"""`petastorm.test_util.shuffling_analysis`: how well a reader mixes rows."""

from __future__ import annotations

from tfpetastorm.reader.analysis import compute_correlation_distribution as compute_correlation_distribution
from tfpetastorm.reader.analysis import generate_shuffle_analysis_dataset as generate_shuffle_analysis_dataset
