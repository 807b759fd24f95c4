"""Metric types, the evaluator and the metric writers."""
