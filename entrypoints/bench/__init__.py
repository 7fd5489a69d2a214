"""``synkrone-socket bench``: a small load, for sizing one's own machine."""
