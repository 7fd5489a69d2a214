"""What the process from which others are forked imports last."""

import gc

# A search for garbage writes to every object that it comes to, and so would copy all of them in each process.
gc.collect()
gc.freeze()
