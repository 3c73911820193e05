"""What is filled in or refused before a write that rules of one object alone cannot know."""
