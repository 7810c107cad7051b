"""Who lives here: from a cgroup to a Tenant with a name. One file per source of names."""
