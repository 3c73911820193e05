"""StatefulSets and DaemonSets: Pods with numbers, or one on each node, and the revisions of both."""
