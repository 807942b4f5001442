"""Where the points are lost: every single error behind the counts of a run, and a page that shows them."""
