"""Error analysis: the single errors behind the counts of a scored run, and an HTML page that shows them."""
