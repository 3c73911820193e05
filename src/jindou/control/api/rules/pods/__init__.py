"""Rules of Pods and of what is inside them; the Pod Security Standards."""
