"""What travels and what is stored: events, codec, topics, configuration, ClickHouse migrations."""
