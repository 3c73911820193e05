"""Other clouds' languages, translated one request at a time onto the one API."""
