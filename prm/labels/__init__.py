"""Step labels: from people, from what a step states, from rollouts, from several of these; and their file formats.

Everything is a `LabelledSolution`. Files stream in and out (`read_labels`, `read_prm800k`, `write_labels`), every row
that cannot be used is named and counted. Labels by a judge, a language model under a rubric, are not made here.
"""

from __future__ import annotations

from prm.labels.bayesian import BayesianConfig, FirstError, find_first_errors
from prm.labels.consensus import Agreement, ConsensusConfig, agreement_matrix, consensus, same_first_error
from prm.labels.files import FORMATS, read_labels, read_prm800k, write_labels
from prm.labels.prm800k import Ledger, Prm800kConverter, Prm800kOptions
from prm.labels.rollouts import Attempt, Prefix, Rollout, bisect_first_error, monte_carlo
from prm.labels.solution import LabelledSolution, hardened, step_labels, values_up_to
from prm.labels.symbolic import label_symbolic

__all__ = [
    "FORMATS",
    "Agreement",
    "Attempt",
    "BayesianConfig",
    "ConsensusConfig",
    "FirstError",
    "LabelledSolution",
    "Ledger",
    "Prefix",
    "Prm800kConverter",
    "Prm800kOptions",
    "Rollout",
    "agreement_matrix",
    "bisect_first_error",
    "consensus",
    "find_first_errors",
    "hardened",
    "label_symbolic",
    "monte_carlo",
    "read_labels",
    "read_prm800k",
    "same_first_error",
    "step_labels",
    "values_up_to",
    "write_labels",
]
