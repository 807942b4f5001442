"""The network: forward pass from padded images and track states to predictions, and update of the track states."""
