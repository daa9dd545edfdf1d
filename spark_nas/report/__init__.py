"""What a person sees of a run: progress, leaderboard, and one self-contained page of figures."""
