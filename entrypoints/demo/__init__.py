"""``demo``: everything on this machine alone, with keys made up for the run, in a page or in the terminal."""
