"""The others' ways to measure the same, each as good as it can honestly be made."""
