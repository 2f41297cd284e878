"""Statements about who built what, when and why: recorded, and not put to the test."""

from __future__ import annotations

from seqlaws.claim import Evidence, NotExecutable, claim


@claim("I1", NotExecutable("which models count as major is no quantity; hybrids of both kinds exist"), articles="S2")
def every_major_language_model_is_a_transformer(see: Evidence) -> None:
    """All major language models of today consist of Transformer blocks, and none of recurrent networks."""


@claim("I2", NotExecutable("history; the authors were at Google Research and in Toronto as well"), articles="S3")
def the_transformer_came_from_google_brain_in_2017(see: Evidence) -> None:
    """Researchers at Google Brain introduced the Transformer in 2017."""


@claim("I3", NotExecutable("what a title was meant to say; E7 is its mathematical reading"), articles="S0")
def the_title_says_that_attention_replaced_recurrence(see: Evidence) -> None:
    """The paper is called "Attention Is All You Need" because attention took the place of recurrence entirely."""


@claim("I4", NotExecutable("history, without a measure of when a field has shifted"), articles="S2")
def the_shift_happened_between_2017_and_2020(see: Evidence) -> None:
    """The change from recurrent networks to Transformers took place quickly, from 2017 to 2020."""


@claim("I5", NotExecutable("history of applications"), articles="S3")
def transformers_were_first_built_for_translation(see: Evidence) -> None:
    """Transformers were made for translation first, and soon used for text, speech and the folding of proteins."""


@claim(
    "I6",
    NotExecutable("motives of authors; the introductions of Bahdanau 2015 and Vaswani 2017 agree"),
    articles="S0 S1 S2 S3",
)
def these_limitations_motivated_attention(see: Evidence) -> None:
    """The limitations of recurrent networks are what led to attention and to Transformers."""


@claim("I7", NotExecutable("history of applications"), articles="S3")
def recurrent_networks_were_instrumental_for_language_and_time_series(see: Evidence) -> None:
    """Recurrent networks were of great use for language and for forecasts of time series."""
