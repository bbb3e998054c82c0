"""Binary operations in the symmetric group S_k (Power et al. 2022, appendix A.1.1).

A permutation is the tuple of its images: a[i] is where i goes. In a product the right factor acts first.
"""

from grok_lightning.operations.registry import operation

Permutation = tuple[int, ...]


@operation(symbol="∘", formula="ab", domain="permutations")
def compose(a: Permutation, b: Permutation, degree: int) -> Permutation:
    """Product: i goes to a[b[i]]."""
    return tuple([a[image] for image in b])


@operation(formula="aba⁻¹", domain="permutations")
def conjugate(a: Permutation, b: Permutation, degree: int) -> Permutation:
    """Conjugate of b by a: a[i] goes to a[b[i]]."""
    images = [0] * degree
    for point, image in zip(a, b, strict=True):
        images[point] = a[image]
    return tuple(images)


@operation(formula="aba", domain="permutations")
def aba(a: Permutation, b: Permutation, degree: int) -> Permutation:
    """Product with a on both sides."""
    return compose(compose(a, b, degree), a, degree)
