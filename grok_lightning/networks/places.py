"""Places of a sequence at which a network is read."""

Places = int | slice
"""One place, or every some-many-th one: what stands in brackets for them."""
ALL = slice(None)
LAST = -1
"""Where the answer to an equation is read."""
