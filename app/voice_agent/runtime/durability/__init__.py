"""What calls change is written in rounds, and written again when a store comes back."""
