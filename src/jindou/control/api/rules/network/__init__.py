"""Rules of Services, of what stands before them and of who answers for them."""
