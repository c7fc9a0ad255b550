"""The estimator: several clusterings of the same images, with scikit-learn's conventions (docs/python.md)."""

from interrupts import run_script as _quiet_ctrl_c  # first, as in every script

from multi_facet_clustering.checks import InputError
from multi_facet_clustering.estimator import MultiFacetClustering
from multi_facet_clustering.run import PROJECT, RECIPE
