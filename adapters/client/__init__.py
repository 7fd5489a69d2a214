"""What pages load from the server: modules of JavaScript, and the routes that serve them."""
