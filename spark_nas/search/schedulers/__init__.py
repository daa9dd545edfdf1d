"""For how long each trial is trained, and which may go on."""
