"""What budgetd costs, against the figures that it was designed for. `python -m benchmarks [NAME ...]`."""
