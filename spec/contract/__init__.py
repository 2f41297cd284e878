"""The contract: what every call of every subject must do, whatever it computes.

In its laws `f` is the implementation and `x` a case of its subject. Those of the first level gate everything else.
"""
