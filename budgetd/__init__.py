"""budgetd watches what an Anthropic organisation spends on its API and tells the right people, once."""

__version__ = "0.1.0"
