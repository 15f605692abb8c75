"""What a student is punished for, as numbers: five losses.

The plain definitions, in float64 numpy, for lessons and as the yardstick that those of the training
loop (``objective``, in torch) are tested against. Knows nothing of models or of training.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["contrast", "embedding_regression", "hidden_states", "relational", "soft_target"]

Array = NDArray[np.floating]


def embedding_regression(student: Array, teacher: Array) -> float:
    """Mean squared distance of unit vectors: ``mean_i |s_i - t_i|^2 = 2 - 2 mean_i cos(s_i, t_i)``.

    ``student`` and ``teacher`` are (n, d) with rows of length 1, so 0 is equal, 2 orthogonal.
    Reimers and Gurevych, "Making Monolingual Sentence Embeddings Multilingual" (2020).

    >>> embedding_regression(np.eye(2), np.eye(2)), embedding_regression(np.eye(2), np.eye(2)[::-1])
    (0.0, 2.0)
    """
    student, teacher = _pair(student, teacher)
    return float(np.mean(np.sum((student - teacher) ** 2, axis=1)))


def relational(student: Array, teacher: Array) -> float:
    """Mean squared difference of the two similarity matrices: ``mean_ij (s_i.s_j - t_i.t_j)^2``.

    Search ranks by similarities, and a rotation of all vectors, which costs the regression loss
    dearly, changes none of them. (n, d) each. Park et al., "Relational Knowledge Distillation"
    (2019).

    >>> turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    >>> relational(np.eye(2) @ turn, np.eye(2)), embedding_regression(np.eye(2) @ turn, np.eye(2))
    (0.0, 2.0)
    """
    student, teacher = _pair(student, teacher)
    return float(np.mean((student @ student.T - teacher @ teacher.T) ** 2))


def soft_target(student_logits: Array, teacher_logits: Array, temperature: float) -> float:
    """``T^2 * mean_i KL(softmax(t_i / T) || softmax(s_i / T))``, natural logarithm.

    Logits are (n, classes); ``temperature`` T > 0. Large T shows the student how the teacher ranks
    the wrong classes; the factor T^2 keeps the gradient's size as T changes. Hinton, Vinyals and
    Dean, "Distilling the Knowledge in a Neural Network" (2015).

    >>> soft_target(np.zeros((1, 2)), np.log([[3.0, 1.0]]), temperature=1.0)
    0.130812
    """
    student, teacher = _pair(student_logits, teacher_logits)
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    log_s, log_t = _log_softmax(student / temperature), _log_softmax(teacher / temperature)
    return float(temperature**2 * np.mean(np.sum(np.exp(log_t) * (log_t - log_s), axis=1)))


def hidden_states(student: Array, teacher: Array) -> float:
    """``sum_i |s_i - t_i|^2 / sum_i |t_i|^2``: 0 is equal, 1 as far off as answering nothing.

    (tokens, d) each, after a layer of the student and the teacher's layer that it stands for. Jiao
    et al., "TinyBERT" (2020), with the teacher's own size as the unit, so that layers count alike.

    >>> hidden_states(np.zeros((1, 2)), np.array([[3.0, 4.0]]))
    1.0
    """
    student, teacher = _pair(student, teacher)
    return float(np.sum((student - teacher) ** 2) / np.sum(teacher**2))


def contrast(ones: Array, others: Array, temperature: float) -> float:
    """``mean_i -log softmax_j(a_i.b_j / T)_i``, both ways round: each row finds its own other half.

    (n, d) each with rows of length 1; the other rows of the batch are what it is not. InfoNCE of
    van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive Coding"
    (2018).

    >>> round(contrast(np.eye(2), np.eye(2), temperature=1.0), 6)
    0.313262
    """
    ones, others = _pair(ones, others)
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    logits = ones @ others.T / temperature
    ways = (np.diag(_log_softmax(logits)), np.diag(_log_softmax(logits.T)))
    return float(-np.mean(ways))


def _log_softmax(logits: Array) -> Array:
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: Array = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    return result


def _pair(student: Array, teacher: Array) -> tuple[Array, Array]:
    s, t = np.asarray(student, dtype=np.float64), np.asarray(teacher, dtype=np.float64)
    if s.ndim != 2 or s.shape != t.shape or len(s) == 0:
        raise ValueError(f"two non-empty (n, d) arrays are compared, got {s.shape} and {t.shape}")
    return s, t
