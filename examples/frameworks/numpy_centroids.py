"""Plain Python and NumPy: the mean image of each digit, and each image the digit whose mean is nearest.

python examples/frameworks/numpy_centroids.py [--folder demo]
"""

from __future__ import annotations

import sys

import numpy as np
from digits_data import TEST, TRAIN, digits_url, tell

import tfpetastorm as tps


def main() -> int:
    url = digits_url()
    sums, counts = np.zeros((10, 8, 8)), np.zeros(10)
    with tps.make_batch_reader(url, filters=TRAIN) as reader:
        for batch in reader:
            np.add.at(sums, batch.digit, batch.image)
            counts += np.bincount(batch.digit, minlength=10)
    means = (sums / counts[:, None, None]).reshape(10, 64)

    right = []
    with tps.make_batch_reader(url, filters=TEST) as reader:
        for batch in reader:
            far = ((batch.image.reshape(-1, 1, 64) - means) ** 2).sum(2)
            right += (far.argmin(1) == batch.digit).tolist()
    return tell(np.mean(right))


if __name__ == "__main__":
    sys.exit(main())
