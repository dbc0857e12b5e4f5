"""What TensorFlow Transform learns from the training data, and how it turns rows into what the model takes."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_transform as tft

TEXT = ("carrier", "origin", "dest")
NUMBERS = ("distance", "planned")
#: Scalars that are missing in some rows.
NULLABLE = ("seats", "wind_speed", "precip", "visib")
#: Lists of minutes, of any length.
RECENT = ("lost_there", "lost_here")


def preprocessing_fn(inputs):
    """Of a batch of rows: `numbers`, float32 `[batch, n]`, each of mean 0 and variance 1 in the training data; an int64
    `[batch]` for each field of text; and `left_late`, the delay at departure as it is, float32 `[batch, 1]`."""
    late = tf.cast(inputs["dep_delay"], tf.float32)
    numbers = [late, *(tf.cast(inputs[name], tf.float32) for name in NUMBERS)]
    for name in NULLABLE:
        numbers += optional(inputs[name])
    for name in RECENT:
        numbers += recent(inputs[name])
    numbers += cyclic(inputs["hour"], 24) + cyclic(inputs["weekday"], 7) + around(inputs["traffic"], inputs["hour"])
    scaled = tft.scale_to_z_score(tf.stack(numbers, axis=1), elementwise=True)
    # Some delays are of 20 hours: nothing is let off that far.
    found = {"numbers": tf.clip_by_value(scaled, -8.0, 8.0), "left_late": late[:, None]}
    for name in TEXT:
        found[name] = tft.compute_and_apply_vocabulary(inputs[name], num_oov_buckets=1, vocab_filename=name)
    return found


def optional(values):
    """Of a scalar that may be missing, a list of one or none: its value or 0, and whether it is there."""
    values = tf.cast(values, tf.float32)
    return [tf.reduce_sum(values, axis=1), tf.cast(values.row_lengths(), tf.float32)]


def recent(lost):
    """Of a list of minutes: the mean, the latest and the worst, 0 if it is empty; and how many there are."""
    count = tf.cast(lost.row_lengths(), tf.float32)
    worst = tf.where(count > 0, tf.reduce_max(lost, axis=1), 0.0)
    return [
        tf.math.divide_no_nan(tf.reduce_sum(lost, axis=1), count),
        tf.reduce_sum(lost[:, -1:], axis=1),
        worst,
        count,
    ]


def cyclic(values, period):
    angle = tf.cast(values, tf.float32) * (6.283185307 / period)
    return [tf.sin(angle), tf.cos(angle)]


def around(traffic, hour):
    """Departures planned for the hour, and for the one before."""
    traffic, hour = tf.cast(traffic, tf.float32), tf.cast(hour, tf.int32)
    return [tf.gather(traffic, one, batch_dims=1) for one in (hour, tf.maximum(hour - 1, 0))]
