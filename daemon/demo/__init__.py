"""`classifyd demo`: the whole story on drawings of its own, with a real daemon in a folder that is
gone afterwards."""
