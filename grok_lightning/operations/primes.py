"""Prime moduli: those modulo which one can divide."""

from math import isqrt


def is_prime(number: int) -> bool:
    """Whether a number is prime."""
    return number > 1 and all(number % divisor for divisor in range(2, isqrt(number) + 1))
