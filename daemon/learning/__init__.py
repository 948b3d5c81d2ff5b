"""Learning from labels: who is held out, what the data is worth, who judges, what to ask next."""
