"""Pretrained feature extractors: two built from their papers, those of Keras, and our own."""
