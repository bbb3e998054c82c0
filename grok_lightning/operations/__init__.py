"""Binary operations on residues and permutations, their algebra, and expressions over them. Needs no torch."""

from grok_lightning.operations.expression import Application, Element, Expression, Letter, Word, parse_expression
from grok_lightning.operations.function import Function, parse_function
from grok_lightning.operations.groups import AbelianGroup, abelian_group
from grok_lightning.operations.lookup import (
    UNDEFINED,
    OperationTable,
    list_operations,
    operation_table,
    properties,
    resolve,
)
from grok_lightning.operations.primes import is_prime
from grok_lightning.operations.registry import Operation, Properties, operation
from grok_lightning.operations.system import Equation, System, parse_system

__all__ = [
    "UNDEFINED",
    "AbelianGroup",
    "Application",
    "Element",
    "Equation",
    "Expression",
    "Function",
    "Letter",
    "Operation",
    "OperationTable",
    "Properties",
    "System",
    "Word",
    "abelian_group",
    "is_prime",
    "list_operations",
    "operation",
    "operation_table",
    "parse_expression",
    "parse_function",
    "parse_system",
    "properties",
    "resolve",
]
