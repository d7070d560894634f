"""The web pages. They come with a later release."""
