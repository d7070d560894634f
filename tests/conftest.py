"""What every test may use: the two servers, as session fixtures."""

pytest_plugins = ["tests.services"]
