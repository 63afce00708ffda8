"""What is of a GPU alone: its name and settings, what is checked on it, what launching costs, and the time there is."""
