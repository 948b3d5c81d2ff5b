"""Where labels come from, beside the commands."""
