"""What is said and understood at the front desk: a folder for each language, and nothing else of it in the code."""
