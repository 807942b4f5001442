"""Training: matching with ground truth, losses, the clip runner and the training loop."""
