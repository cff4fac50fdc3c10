"""Tools a person runs by file: measurements and default data."""
