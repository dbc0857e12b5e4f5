"""Where PyTorch is not installed there is nothing to collect: `make test-frameworks` runs these."""

from __future__ import annotations

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["test_*.py"]
