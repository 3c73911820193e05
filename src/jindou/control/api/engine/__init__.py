"""Every verb on every kind, built-in and custom alike, over the store: no HTTP here."""
