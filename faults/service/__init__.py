"""Services with the mirror attached, as servers and task queues run them."""
