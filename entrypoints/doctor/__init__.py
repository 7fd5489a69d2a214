"""``synkrone-socket doctor``: what is looked at here, and through an address that clients use."""
