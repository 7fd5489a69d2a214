"""Errors as clients and backends see them."""

from __future__ import annotations

from domain.model import Problem


def problem_object(problem: Problem) -> dict[str, object]:
    """``{code, title, detail?, retryable}``"""
    members: dict[str, object] = {"code": problem.code, "title": problem.title, "retryable": problem.retryable}
    if problem.detail is not None:
        members["detail"] = problem.detail
    return members
