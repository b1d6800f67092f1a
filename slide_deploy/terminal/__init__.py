"""What a user sees on a terminal: messages, tables and progress bars."""
