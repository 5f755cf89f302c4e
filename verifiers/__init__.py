"""What is true: answers checked against gold answers."""
