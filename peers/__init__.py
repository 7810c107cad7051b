"""The benchmarks' peers: how each is got, built outside the tree, started and measured.

A peer is never part of the product: nothing in `src/` needs one to work, and a benchmark that
cannot have one says so in its `skipped`.
"""
