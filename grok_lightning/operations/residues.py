"""Binary operations on the residues 0 … n−1 modulo n.

Those of Power et al. (2022, appendix A.1.1) and of Park et al. (2024). Even and odd speak of the residue as an integer.
"""

from math import gcd

from grok_lightning.operations.registry import operation


@operation(symbol="+", formula="x+y", commutative=True, abelian_group=True, inverse="sub")
def add(x: int, y: int, n: int) -> int:
    """Sum."""
    return (x + y) % n


@operation(symbol="-", formula="x−y", anti_abelian=True, inverse="add")
def sub(x: int, y: int, n: int) -> int:
    """Difference."""
    return (x - y) % n


@operation(symbol="·", formula="x·y", commutative=True, abelian_group=True, inverse="div")
def mul(x: int, y: int, n: int) -> int:
    """Product; a group on the units."""
    return x * y % n


# Modulo an even number above 2 fewer than half of the residues can divide.
@operation(symbol="/", formula="x/y", anti_abelian=True, inverse="mul", odd_modulus=True)
def div(x: int, y: int, n: int) -> int | None:
    """Quotient, where y is a unit."""
    return x * pow(y, -1, n) % n if gcd(y, n) == 1 else None


@operation(formula="x²+y²", commutative=True)
def sum_of_squares(x: int, y: int, n: int) -> int:
    """Sum of squares."""
    return (x * x + y * y) % n


@operation(formula="x²+y²+x+y", commutative=True)
def sum_of_squares_plus_sum(x: int, y: int, n: int) -> int:
    """Sum of squares and the operands."""
    return (x * x + y * y + x + y) % n


@operation(formula="x³+y³+x+y", commutative=True)
def sum_of_cubes_plus_sum(x: int, y: int, n: int) -> int:
    """Sum of cubes and the operands."""
    return (x**3 + y**3 + x + y) % n


@operation(formula="x²+y²+xy", commutative=True)
def sum_of_squares_plus_product(x: int, y: int, n: int) -> int:
    """Sum of squares and the product."""
    return (x * x + y * y + x * y) % n


@operation(formula="x²+y²+xy+x")
def sum_of_squares_plus_product_plus_x(x: int, y: int, n: int) -> int:
    """Sum of squares, the product and the first operand."""
    return (x * x + y * y + x * y + x) % n


@operation(formula="(x+y)²", commutative=True)
def square_of_sum(x: int, y: int, n: int) -> int:
    """Square of the sum."""
    return (x + y) ** 2 % n


@operation(formula="(x+y)³", commutative=True)
def cube_of_sum(x: int, y: int, n: int) -> int:
    """Cube of the sum."""
    return (x + y) ** 3 % n


@operation(formula="x²+y")
def x_squared_plus_y(x: int, y: int, n: int) -> int:
    """Square of the first operand, and the second."""
    return (x * x + y) % n


@operation(formula="x³+y")
def x_cubed_plus_y(x: int, y: int, n: int) -> int:
    """Cube of the first operand, and the second."""
    return (x**3 + y) % n


@operation(formula="x³+xy")
def x_cubed_plus_product(x: int, y: int, n: int) -> int:
    """Cube of the first operand, and the product."""
    return (x**3 + x * y) % n


@operation(formula="x³+xy²+y")
def x_times_sum_of_squares_plus_y(x: int, y: int, n: int) -> int:
    """The first operand times the sum of squares, and the second."""
    return (x**3 + x * y * y + y) % n


@operation(symbol="/|-", formula="x/y if y odd else x−y")
def div_if_y_odd_else_sub(x: int, y: int, n: int) -> int | None:
    """Quotient for odd y, where that is a unit; difference for even y."""
    return div(x, y, n) if y % 2 else sub(x, y, n)


@operation(symbol="+|·", formula="x+y if x even else x·y")
def add_if_x_even_else_mul(x: int, y: int, n: int) -> int:
    """Product for odd x, sum for even x."""
    return mul(x, y, n) if x % 2 else add(x, y, n)


@operation(symbol="+|-", formula="x+y if x even else x−y")
def add_if_x_even_else_sub(x: int, y: int, n: int) -> int:
    """Difference for odd x, sum for even x."""
    return sub(x, y, n) if x % 2 else add(x, y, n)


@operation(symbol="{alpha}x{beta:+}y", formula="αx+βy")
def linear(x: int, y: int, n: int, alpha: int, beta: int) -> int:
    """Linear form with any integer coefficients."""
    return (alpha * x + beta * y) % n
