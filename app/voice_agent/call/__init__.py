"""What a call is: pure rules, no waiting, no clock, no chance, no logging."""
