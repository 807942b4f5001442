"""Learning to track: who should be who by ground truth, what that costs, and the loop around it."""
