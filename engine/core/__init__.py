"""What every room of the engine stands on: errors, progress, files, devices."""
