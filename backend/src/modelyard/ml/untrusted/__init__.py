"""Tokenizers and chat templates of strangers, each in a process of its own with limits.

A chat template is a program, and a `tokenizer.json` can be one: a few kilobytes of it take all of a machine's memory or
a core for hours, and no thread can stop it, because the library holds the interpreter meanwhile.
"""

from modelyard.ml.untrusted.tokenizer import SpecialTokens, Tokenizer, TokenizerStopped, warm_up

__all__ = ["SpecialTokens", "Tokenizer", "TokenizerStopped", "warm_up"]
