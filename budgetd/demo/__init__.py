"""What `budgetd demo` shows: a story, the servers that its messages go to, and how they are drawn."""
