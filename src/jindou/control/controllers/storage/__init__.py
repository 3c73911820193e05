"""Claims and volumes: how they find each other, how new ones are made, and what keeps them."""
