"""Trainable classifiers that sit on a backbone's feature map."""
