"""scikit-learn: a linear classifier that learns batch by batch, however large the dataset is.

python examples/frameworks/sklearn_partial_fit.py [--folder demo]
"""

from __future__ import annotations

import sys

import numpy as np
from digits_data import TEST, TRAIN, digits_url, tell
from sklearn.linear_model import SGDClassifier

import tfpetastorm as tps


def main() -> int:
    url = digits_url()
    model = SGDClassifier(random_state=0)
    # One pass of ten epochs, row groups in another order each time.
    with tps.make_batch_reader(url, filters=TRAIN, num_epochs=10, seed=1) as reader:
        for batch in reader:
            model.partial_fit(batch.image.reshape(-1, 64) / 16, batch.digit, classes=range(10))

    with tps.make_batch_reader(url, filters=TEST) as reader:
        right = [model.predict(batch.image.reshape(-1, 64) / 16) == batch.digit for batch in reader]
    return tell(np.concatenate(right).mean())


if __name__ == "__main__":
    sys.exit(main())
