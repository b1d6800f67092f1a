"""The table of rules as Markdown, for the documentation."""

from slide_deploy.graph_checks.rules import RULES


def rule_table() -> str:
    """One line a rule: what must hold, why, and what to do where it does not."""
    lines = ["| rule | holds if | because | where it does not |", "|---|---|---|---|"]
    lines += [
        f"| {rule.id} {rule.name} | {rule.title} | {rule.reason} | {rule.remedy} |"
        for rule in RULES
    ]
    return "\n".join(lines) + "\n"
