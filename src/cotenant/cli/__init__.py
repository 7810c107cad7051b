"""The verbs: one file each, imported only when called. Arguments in, printing out, no logic."""
