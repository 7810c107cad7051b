"""Who lives, and what each process maps."""
