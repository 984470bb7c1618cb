"""What farfield claims about its own speed and accuracy, measured beside what others would use: ``make bench``."""
