"""What is said in a recording, and when."""
