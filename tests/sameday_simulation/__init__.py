"""Simulated days of budgetd with all three sources, killed at commits and sends, and a judge that knows the truth."""
