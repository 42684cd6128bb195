"""Everyday words that mean the same and that WordNet keeps apart, or has only in rare senses.

Each line is one group; the first word stands for all of it. Only what may be exchanged in nearly any question belongs
here: ``cancel`` and ``pause`` are in the same matter, and are not the same.
"""

from __future__ import annotations

from itertools import combinations
from typing import Final

_GROUPS: Final = """
cost price
information info details
document documentation doc docs
application app
account acct
database db
computer pc
phone telephone smartphone cellphone mobile cell
television tv
photo photograph picture pic
bicycle bike
car automobile
refrigerator fridge
flat apartment
lift elevator
petrol gasoline gas
holiday vacation
employee staff worker personnel
boss manager
company firm business enterprise
doctor physician
medicine medication drug
illness disease sickness
symptom sign
flu influenza
child kid
baby infant
salary wage pay
warranty guarantee
booking reservation
meeting appointment
customer client
supplier vendor
shop store
goal aim objective target purpose
begin start commence
end finish
terminate cancel
leave depart
free available
tablet pill
dispute contest challenge
paper document
show see view list
mail email
buy purchase
fix repair mend
delete remove erase clear
use utilize utilise operate
term condition
best ideal optimal
weigh weight
rule regulation
select choose pick
assemble build
reduce lower decrease
increase raise rise
enable activate turn_on switch_on
disable deactivate turn_off switch_off shut_down
submit file
get obtain receive
contact reach
allow permit
need require necessary
forbid prohibit ban
mandatory obligatory compulsory required
voluntary optional
quick fast rapid
slow sluggish
large big
small little
main principal primary chief
cheap inexpensive
expensive costly
sleepy drowsy
sick ill
broken defective faulty
temperature temp
duration length period
convert transform turn
replace change
revert undo
talk speak
check verify
approximate approx
authentication auth
administrator admin
identifier id
specification spec
configuration config
repository repo
directory folder
environment env
versus vs
department dept
management mgmt
bill invoice
tax taxation
lawyer attorney
agreement contract
lease tenancy
renter tenant
rental rent
trip journey
luggage baggage
airplane aeroplane plane
taxi cab
movie film
autumn fall
garbage rubbish trash waste
bathroom toilet restroom
cookie biscuit
aubergine eggplant
courgette zucchini
coriander cilantro
post publish
show display
happen occur
answer reply response
question query
problem issue trouble
help support assistance
mistake error
change modify alter
start launch boot
stop halt
quit resign
explain describe
discuss talk
important significant
advantage benefit pro
disadvantage drawback con
place location
part component
kind type sort
newest latest
"""

_SAME: Final = {
    frozenset((one, other)) for line in _GROUPS.splitlines() for one, other in combinations(line.split(), 2)
}


def are_same(one: str, other: str) -> bool:
    """Whether two base forms stand for each other in daily use."""
    return frozenset((one.replace(" ", "_"), other.replace(" ", "_"))) in _SAME
