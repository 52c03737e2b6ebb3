"""What one kind of channel shows of a message, where plain text would be less than it can: a file for each."""
