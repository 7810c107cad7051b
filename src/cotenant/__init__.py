"""cotenant looks after the tenants of one Linux host: it senses, judges, acts, and can undo."""

__version__ = "0.1.0"
