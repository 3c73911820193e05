"""The web console: static pages that call the API."""
