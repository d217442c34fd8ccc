from made_up_results import compared_system

from summtune.evaluator.cheapest import Cheapest, cheapest


def priced(name, per_1000, currency="USD", **cost):
    return compared_system(name, money_per_1000_dialogues=per_1000, currency=currency, **cost)


def timed(name, hours, device="cuda", **cost):
    return compared_system(name, generation_device_hours=hours, device=device, dialogues=500, **cost)


def test_money_decides_in_one_currency():
    assert cheapest([priced("a", 2.0), priced("b", 1.5), priced("c", 3.0)]) == Cheapest("b", "1.50 USD")


def test_of_equal_ones_it_is_the_first():
    assert cheapest([priced("a", 1.0), priced("b", 1.0)]).name == "a"


def test_device_hours_decide_where_money_cannot():
    assert cheapest([timed("a", 0.5), timed("b", 0.25)]) == Cheapest("b", "0.500 GPU-hours")
    assert cheapest([timed("a", 0.5, "cpu"), timed("b", 1.0, "cpu")]).price == "1 device-hours"
    dear = {"money_per_1000_dialogues": 9.0, "currency": "EUR"}
    assert cheapest([timed("a", 0.5, **dear), timed("b", 0.25)]).name == "b"


def test_nothing_is_the_cheapest_where_one_amount_is_unknown_or_of_another_unit():
    assert cheapest([priced("a", 1.0), compared_system("b")]) is None
    assert cheapest([priced("a", 1.0), priced("b", 2.0, "EUR")]) is None
    assert cheapest([timed("a", 0.5), timed("b", 0.5, "cpu")]) is None
    assert cheapest([timed("a", 0.5, None), timed("b", 0.5, None)]) is None
