"""Images made on this machine from the distribution's packages."""
