"""What an expression costs at most, worked out from a schema before it is ever evaluated."""
