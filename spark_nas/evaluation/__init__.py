"""Axis 3, how good a trial is: training for real, tables of recorded trainings, formulas."""
