"""A simulated organisation behind a simulated Admin API: for the demo, `budgetd simulate`, tests and the docs."""
