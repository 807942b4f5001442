"""Error analysis: every single error behind the counts of a run, and an HTML page that shows them."""
