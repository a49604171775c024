"""Calibration and uncertainty: are the probabilities true, and does the model know?"""
