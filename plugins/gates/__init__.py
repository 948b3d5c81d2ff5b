"""Judges of whether a newly trained model may go live."""
