"""The node's own HTTP endpoint, in the kubelet's words: logs, statistics, images, streams."""
