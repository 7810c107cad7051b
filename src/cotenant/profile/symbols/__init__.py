"""What stands at an address: functions of files, of the kernel, of JITs."""
