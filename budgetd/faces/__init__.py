"""What a message looks like where a service has ways of its own to show it: one file for each. Pure."""
