"""The rules of the log and of the inboxes, as pure functions and values: every store keeps to them."""
