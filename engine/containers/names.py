"""Names for containers that were given none: two words that are easy to say and to type."""

from __future__ import annotations

import os

_FIRST = """
amber ample basic brave brisk calm clear clever cosy crisp dapper eager early fair fast fine fond frank
fresh gentle glad grand green happy hardy keen kind lively loyal lucid lucky mellow merry mild neat nimble
noble plain polite proud quick quiet ready rosy round sage sharp shy sleek smart snug solid spry stout sunny
swift tidy tiny vivid warm wise witty young
"""
_SECOND = """
acorn alder aspen badger beaver birch bison bramble brook cedar cherry clover comet cove crane daisy dove
dune elm ember falcon fern finch fjord forest fox glade harbor hazel heron holly island ivy juniper kestrel
lake larch lark lily linden lynx maple marten meadow moss oak olive orchid otter owl pebble pine plover
poplar quartz raven reed ridge river robin rowan sorrel sparrow spruce swan thistle thrush tulip valley vole
willow wren yew
"""


def suggest(attempt: int = 0) -> str:
    """A name; with a number behind it once plain ones were taken."""
    a, b, c = os.urandom(3)
    first, second = _FIRST.split(), _SECOND.split()
    name = f"{first[a % len(first)]}_{second[b % len(second)]}"
    return f"{name}{attempt * 100 + c % 100}" if attempt > 2 else name
