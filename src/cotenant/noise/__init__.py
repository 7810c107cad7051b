"""The sense of who makes whom wait: run-queue waits of every tenant, and who ran meanwhile."""
