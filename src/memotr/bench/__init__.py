"""What everything costs: one run measures all parts beside a plain baseline, and says on what machine."""
