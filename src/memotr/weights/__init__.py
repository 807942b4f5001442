"""Weights files: recognition, loading and saving of trackers, and detectors to start training from."""
