"""Speed, as ratios to ceilings measured in the same run: `python -m bench`, or `make bench`."""
