"""HAProxy: renders its configuration from routes and changes it without dropping connections."""
