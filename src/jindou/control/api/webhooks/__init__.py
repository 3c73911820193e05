"""Programs of users that the API asks: admission and conversion webhooks, and how they are reached."""
