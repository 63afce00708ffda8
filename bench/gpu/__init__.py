"""What is of a GPU alone: its name and settings, what launching costs, and the time there is."""
