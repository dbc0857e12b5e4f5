"""`petastorm.predicates`: which rows are read."""

from tfpetastorm.read.predicates import PredicateBase as PredicateBase
from tfpetastorm.read.predicates import in_intersection as in_intersection
from tfpetastorm.read.predicates import in_lambda as in_lambda
from tfpetastorm.read.predicates import in_negate as in_negate
from tfpetastorm.read.predicates import in_pseudorandom_split as in_pseudorandom_split
from tfpetastorm.read.predicates import in_reduce as in_reduce
from tfpetastorm.read.predicates import in_set as in_set
