"""What the real API server fills in, kind by kind."""
