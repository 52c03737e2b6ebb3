"""How rules.yaml is read: its text, its shape, what the shape cannot say, and the mistakes with their places."""
