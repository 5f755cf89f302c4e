"""Step labels: from people, what a step states, rollouts, a judge, or several of these; and their file formats.

Everything is a `LabelledSolution`. Files stream in and out (`read_labels`, `read_prm800k`, `write_labels`), every row
that cannot be used is named and counted. Who generates, for rollouts or as a judge, is the caller's.
"""

from __future__ import annotations

from prm.labels.bayesian import BayesianConfig, FirstError, find_first_errors
from prm.labels.consensus import (
    Agreement,
    ConsensusConfig,
    agreement_matrix,
    consensus,
    label_agreement,
    same_first_error,
    side_by_side,
)
from prm.labels.files import FORMATS, read_labels, read_prm800k, write_labels
from prm.labels.judge import Complete, JudgeConfig, label_judge
from prm.labels.prm800k import Ledger, Prm800kConverter, Prm800kOptions
from prm.labels.rollouts import Attempt, Prefix, Rollout, bisect_first_error, monte_carlo
from prm.labels.solution import LabelledSolution, hardened, step_labels, values_up_to
from prm.labels.symbolic import label_symbolic

__all__ = [
    "FORMATS",
    "Agreement",
    "Attempt",
    "BayesianConfig",
    "Complete",
    "ConsensusConfig",
    "FirstError",
    "JudgeConfig",
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
    "label_agreement",
    "label_judge",
    "label_symbolic",
    "monte_carlo",
    "read_labels",
    "read_prm800k",
    "same_first_error",
    "side_by_side",
    "step_labels",
    "values_up_to",
    "write_labels",
]
