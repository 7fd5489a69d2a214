"""Who a token or a key speaks for."""
