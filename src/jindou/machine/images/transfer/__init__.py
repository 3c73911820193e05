"""Images from and to elsewhere: registries, and archives of both forms."""
