"""Robustness: scores while one modality gets worse."""
