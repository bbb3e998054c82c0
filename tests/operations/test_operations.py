import importlib
import itertools
import math
import re

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from sympy.combinatorics import Permutation, SymmetricGroup

from grok_lightning.operations import (
    algebra,
    list_operations,
    operation,
    operation_table,
    properties,
    registry,
    resolve,
)

RESIDUE_OPERATIONS = [known.name for known in list_operations() if known.domain == "residues" and not known.parameters]
MODULI = [2, 3, 5, 7, 9, 11, 15]
permutations_of_5 = st.permutations(range(5)).map(tuple)


@pytest.fixture
def own_registry(monkeypatch):
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))


def evaluator(formula):
    """The function (x, y, n) that the text of a formula describes, or None where it divides by no unit."""
    case = re.fullmatch(r"(.+) if ([xy]) (odd|even) else (.+)", formula)
    if case:
        yes, no = evaluator(case[1]), evaluator(case[4])
        parity, variable = ["even", "odd"].index(case[3]), "xy".index(case[2])
        return lambda *args: (yes if args[variable] % 2 == parity else no)(*args)
    for sign, code in {"²": "**2", "³": "**3", "·": "*", "−": "-", "xy": "x*y"}.items():
        formula = formula.replace(sign, code)
    top, bottom = (sympy.lambdify(sympy.symbols("x y"), part) for part in sympy.sympify(formula).as_numer_denom())

    def evaluate(x, y, n):
        if math.gcd(bottom(x, y), n) > 1:
            return None
        return top(x, y) * int(sympy.mod_inverse(bottom(x, y), n)) % n

    return evaluate


@pytest.mark.parametrize("name", RESIDUE_OPERATIONS)
@pytest.mark.parametrize("modulus", MODULI)
def test_every_value_follows_the_formula(name, modulus):
    table = operation_table(name, modulus)
    expected = evaluator(table.operation.formula)
    for x, y in itertools.product(range(modulus), repeat=2):
        value = expected(x, y, modulus)
        assert table.values[x][y] == (-1 if value is None else value)


def test_the_operations_of_both_papers_are_there():
    formulas = {known.formula for known in list_operations()}
    assert formulas >= {"x+y", "x−y", "x·y", "x/y", "x²+y²", "x²+y²+x+y", "x³+y³+x+y", "x²+y²+xy", "(x+y)²", "(x+y)³"}
    assert formulas >= {"x²+y²+xy+x", "x³+xy", "x³+xy²+y", "x²+y", "x³+y", "x/y if y odd else x−y"}
    assert formulas >= {"x+y if x even else x·y", "x+y if x even else x−y", "αx+βy", "ab", "aba⁻¹", "aba"}


def test_division_modulo_97_has_the_rows_of_the_paper():
    values = operation_table("div", 97).values
    assert sum(value >= 0 for row in values for value in row) == 9312
    assert all(row[0] == -1 for row in values)


def test_a_composite_modulus_divides_by_units_only():
    table = operation_table("div", 15)
    defined = {y for y in range(15) if all(row[y] >= 0 for row in table.values)}
    assert defined == {y for y in range(15) if sympy.gcd(y, 15) == 1}
    assert len(defined) == sympy.totient(15)


@given(st.integers(-200, 200), st.integers(-200, 200), st.integers(2, 12))
def test_linear_forms(alpha, beta, modulus):
    table = operation_table(f"linear({alpha}, {beta})", modulus)
    assert table.name == f"linear({alpha},{beta})"
    for x, y in itertools.product(range(modulus), repeat=2):
        assert (table.values[x][y] - alpha * x - beta * y) % modulus == 0
        assert 0 <= table.values[x][y] < modulus


def test_symbols_of_linear_forms_tell_them_apart():
    assert operation_table("linear(2,3)", 7).symbol == "2x+3y"
    assert operation_table("linear(2,-3)", 7).symbol == "2x-3y"


@given(permutations_of_5, permutations_of_5)
def test_permutation_operations_against_sympy(a, b):
    first, second = Permutation(a), Permutation(b)
    # sympy applies the left factor first
    expected = {
        "compose(5)": second * first,
        "conjugate(5)": first**-1 * second * first,
        "aba(5)": first * second * first,
    }
    for name, product in expected.items():
        assert resolve(name).function(a, b, 5) == tuple(product.array_form)


@pytest.mark.parametrize("name", ["compose", "conjugate", "aba"])
def test_the_table_of_permutations_names_its_values(name):
    table = operation_table(f"{name}(3)", None)
    assert table.elements == ("(0 1 2)", "(0 2 1)", "(1 0 2)", "(1 2 0)", "(2 0 1)", "(2 1 0)")
    elements = list(itertools.permutations(range(3)))
    for i, j in itertools.product(range(6), repeat=2):
        value = elements[table.values[i][j]]
        assert value == table.operation.function(elements[i], elements[j], 3)


def test_the_table_of_s5_has_each_element_once_in_each_row_and_column():
    values = operation_table("compose(5)", None).values
    everything = list(range(120))
    assert all(sorted(row) == everything for row in values)
    assert all(sorted(column) == everything for column in zip(*values, strict=True))


@pytest.mark.parametrize("name", RESIDUE_OPERATIONS)
def test_declared_properties_are_those_found_at_every_modulus(name):
    declared = resolve(name).properties
    found = [properties(name, modulus) for modulus in MODULI if modulus > 2]
    for what in ("commutative", "abelian_group", "anti_abelian"):
        assert getattr(declared, what) == all(getattr(each, what) for each in found), what
    inverses = {each.inverse for each in found}
    assert inverses == {declared.inverse} if declared.inverse else None in inverses


def test_reversible_elements_are_those_the_declarations_speak_of():
    units = [y for y in range(15) if math.gcd(y, 15) == 1]
    for name in ("mul", "div"):
        assert algebra.reversible_elements(operation_table(name, 15).values) == units
    for name in ("add", "sub"):
        assert algebra.reversible_elements(operation_table(name, 15).values) == list(range(15))
    assert algebra.reversible_elements(operation_table("square_of_sum", 7).values) == []


@pytest.mark.parametrize("degree", [2, 3, 4])
def test_composition_is_an_abelian_group_where_sympy_says_so(degree):
    found = properties(f"compose({degree})", None)
    assert found.commutative == found.abelian_group == SymmetricGroup(degree).is_abelian


def test_one_reversible_element_is_nothing_to_speak_of():
    assert algebra.reversible_elements(operation_table("mul", 2).values) == [1]
    assert str(properties("mul", 2)) == "commutative"
    assert str(properties("div", 2)) == ""
    assert str(properties("add", 2)) == "commutative, abelian group, anti-abelian, undone by sub"


def test_an_inverse_is_found_without_a_declaration():
    assert properties("linear(1,1)", 7).inverse == "sub"
    assert properties("linear(-1,1)", 7).inverse is None
    assert properties("mul", 10).inverse == "div"


@given(st.integers(1, 4), st.integers(1, 4), st.data())
def test_properties_of_any_group_of_two_cyclic_factors(m, k, data):
    elements = data.draw(st.permutations(list(itertools.product(range(m), range(k)))))
    add = [[elements.index(((a + c) % m, (b + d) % k)) for c, d in elements] for a, b in elements]
    sub = [[elements.index(((a - c) % m, (b - d) % k)) for c, d in elements] for a, b in elements]
    every = range(m * k)
    assert algebra.is_abelian_group(add)
    assert algebra.is_anti_abelian(sub)
    assert algebra.undoes(sub, add, every)
    assert algebra.undoes(add, sub, every)
    of_exponent_two = max(m, k) <= 2
    assert algebra.is_abelian_group(sub) == algebra.is_anti_abelian(add) == of_exponent_two
    if m * k > 1:
        x, y = data.draw(st.tuples(st.sampled_from(every), st.sampled_from(every)))
        for table in (add, sub):
            table[x][y] = (table[x][y] + 1) % (m * k)
        assert not algebra.is_abelian_group(add)
        assert not algebra.is_anti_abelian(sub)
        assert not algebra.undoes(sub, add, every)


def test_a_commutative_table_with_identity_and_inverses_may_lack_associativity():
    assert not algebra.is_abelian_group([[0, 1, 2], [1, 0, 1], [2, 1, 0]])


def test_the_unknown_has_its_nearest_name():
    with pytest.raises(ValueError, match="unknown operation 'ad': did you mean 'add'"):
        resolve("ad")
    with pytest.raises(ValueError, match=r"unknown operation '\+': did you mean 'add'"):
        resolve("+")
    with pytest.raises(ValueError, match=r"unknown operation 'zzz'.*sum_of_squares.*compose\(degree\)"):
        resolve("zzz")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("linear", r"written linear\(alpha,beta\), got 0"),
        ("linear(2)", r"written linear\(alpha,beta\), got 1"),
        ("linear(2,3,4)", "got 3"),
        ("linear(2,x)", "parameter 'x' is not an integer"),
        ("linear(2,1.5)", "parameter '1.5' is not an integer"),
        ("linear(2,3)(4)", "is not an integer"),
        ("linear(2,3", r"unknown operation.*linear\(alpha,beta\)"),
        ("add()", "parameter '' is not an integer"),
        ("add(3)", "written add, got 1"),
        ("compose", r"written compose\(degree\)"),
        ("compose(1)", "degree from 2 to 6, got 1"),
        ("compose(7)", "degree from 2 to 6, got 7"),
        ("__import__('os')", "unknown operation '__import__'"),
        ("no_such_module.anything", "No module named 'no_such_module'"),
        ("itertools.prodct", "no 'prodct': did you mean 'product'"),
        ("math.gcd", r"function of \(a, b, n\), got a builtin"),
        ("textwrap.dedent", r"function of \(a, b, n\), got textwrap.dedent\(text\)"),
    ],
)
def test_malformed_names_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        operation_table(name, 7)


@pytest.mark.parametrize(
    ("name", "modulus", "message"),
    [
        ("add", None, "'add' needs a modulus of at least 2, got modulus=None"),
        ("add", 1, "got modulus=1"),
        ("div", 96, "'div' needs an odd modulus, or 2, got modulus=96"),
        ("compose(5)", 97, r"'compose\(5\)' is on permutations and takes no modulus, got modulus=97"),
    ],
)
def test_a_modulus_that_does_not_fit_is_refused(name, modulus, message):
    with pytest.raises(ValueError, match=message):
        operation_table(name, modulus)


USER_MODULE = """
from grok_lightning.operations import operation

@operation(formula="x²−y²")
def difference_of_squares(x, y, n):
    return (x * x - y * y) % n

@operation()
def power_sum(x, y, n, k):
    return (x**k + y**k) % n

def plain(x, y, n):
    return (x + 2 * y) % n if y else None

def wrong(x, y, n):
    return x + y
"""


@pytest.fixture
def user_module(tmp_path, monkeypatch, own_registry):
    (tmp_path / "my_operations_for_tests.py").write_text(USER_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(importlib.sys.modules, "my_operations_for_tests", raising=False)
    return "my_operations_for_tests"


def test_a_decorated_function_is_found_by_path_and_then_by_name(user_module):
    table = operation_table(f"{user_module}.difference_of_squares", 5)
    assert table.values == [[(x * x - y * y) % 5 for y in range(5)] for x in range(5)]
    assert table.name == f"{user_module}.difference_of_squares"
    assert table.symbol == "x²−y²"
    assert resolve(table.name) == table.operation
    assert resolve("difference_of_squares").function is table.operation.function
    assert operation_table(f"{user_module}.power_sum(4)", 5).values[2][3] == (16 + 81) % 5
    assert resolve("power_sum(4)").symbol != resolve("power_sum(5)").symbol


def test_a_plain_function_is_found_by_path(user_module):
    table = operation_table(f"{user_module}.plain", 5)
    assert table.values == [[-1 if y == 0 else (x + 2 * y) % 5 for y in range(5)] for x in range(5)]
    assert properties(table.name, 5) == table.operation.properties


def test_a_value_that_is_no_element_is_refused(user_module):
    with pytest.raises(ValueError, match="gives 5 for 1, 4: no element of residues"):
        operation_table(f"{user_module}.wrong", 5)


def test_a_module_may_be_loaded_again(user_module):
    module = importlib.import_module(user_module)
    assert resolve("difference_of_squares").function is module.difference_of_squares
    old = module.difference_of_squares
    importlib.reload(module)
    assert resolve("difference_of_squares").function is module.difference_of_squares is not old


def test_names_and_symbols_are_taken_once(own_registry):
    symbols = [known.symbol for known in list_operations()]
    assert len(set(symbols)) == len(symbols)
    with pytest.raises(ValueError, match=r"name='add' is taken by grok_lightning.operations.residues"):
        operation(name="add")(lambda x, y, n: 0)
    with pytest.raises(ValueError, match=r"'plus': symbol='\+' is taken by 'add'"):
        operation(name="plus", symbol="+")(lambda x, y, n: 0)
    with pytest.raises(ValueError, match="identifier, got name='a b'"):
        operation(name="a b")(lambda x, y, n: 0)
    assert "plus" not in {known.name for known in list_operations()}


def test_a_function_of_another_form_is_refused(own_registry):
    with pytest.raises(ValueError, match=r"got two\(x, y\)"):
        operation(name="two")(lambda x, y: 0)
    with pytest.raises(ValueError, match=r"got many\(x, y, \*rest\)"):
        operation(name="many")(lambda x, y, *rest: 0)
    with pytest.raises(ValueError, match="got a type"):
        operation()(Permutation.__class__)
