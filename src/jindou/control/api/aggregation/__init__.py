"""Other API servers behind this one: APIServices, whether they answer, what they serve, and the way to them."""
