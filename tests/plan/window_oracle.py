"""Windows as a plain loop over the rows finds them."""

from __future__ import annotations


def expected_starts(wanted, passes, values, times, follows):
    """The oracle: row by row. follows[i]: whether row i is stored right after row i - 1."""

    def joined(i):
        """Whether rows i - 1 and i may be neighbours in a window."""
        if not (passes[i - 1] and passes[i] and follows[i]) or (wanted.sequence and values[i] != values[i - 1]):
            return False
        return wanted.threshold is None or times[i] - times[i - 1] <= wanted.threshold

    found, begin, end_of = [], 0, {}
    for start in range(len(passes)):
        if start and not joined(start):
            begin = start
        rows = range(start, start + wanted.length)
        if rows[-1] >= len(passes) or not passes[start] or not all(joined(i) for i in rows[1:]):
            continue
        if wanted.overlap:
            if (start - begin) % wanted.stride == 0:
                found.append(start)
            continue
        value = values[start] if wanted.sequence else None
        if value not in end_of or times[start] > end_of[value]:
            found.append(start)
            end_of[value] = times[rows[-1]]
    return found
