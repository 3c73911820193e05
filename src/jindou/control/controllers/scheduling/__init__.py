"""How a node is chosen for a Pod: what Pods demand, what nodes have, filters, scores, and the scheduler."""
