"""The seeded simulation: the whole daemon against a simulated world that fails, crashes and judges it from outside."""
