"""One module a command: ``add_to`` puts it on the command line, and what that sets as ``run`` carries it out."""
