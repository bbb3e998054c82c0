"""Binary operations on residues and permutations: pure integer functions with their algebra. Needs no torch."""

from grok_lightning.operations.lookup import (
    OperationTable,
    list_operations,
    operation_table,
    properties,
    resolve,
)
from grok_lightning.operations.registry import Operation, Properties, operation

__all__ = [
    "Operation",
    "OperationTable",
    "Properties",
    "list_operations",
    "operation",
    "operation_table",
    "properties",
    "resolve",
]
