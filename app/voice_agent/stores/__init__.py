"""Where call state lives, behind one interface."""
