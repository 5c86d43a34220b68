"""SPHEREx in the stock Rubin/LSST Butler."""
