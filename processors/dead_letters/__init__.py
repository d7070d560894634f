"""Dead letters: the limit that stops a component before it makes too many, and what can be done with them."""
