"""The network: from padded images and track states to predictions, and from predictions to renewed track states."""
