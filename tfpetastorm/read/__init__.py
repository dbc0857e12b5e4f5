"""From one read task to one set of columns: fetch, predicate, codecs, nulls, transform."""
