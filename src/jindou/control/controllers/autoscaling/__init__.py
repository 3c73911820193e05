"""HorizontalPodAutoscalers: how many Pods what they use asks for, and how fast that may change."""
