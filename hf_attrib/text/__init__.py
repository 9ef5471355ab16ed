"""From what people write to token ids that know where they come from.

A prompt may be a text, a conversation or ids; here it becomes :class:`Tokens`, each with its piece,
its characters and its role, and here tokens are grouped to words, sentences or parts of one's own.
This folder knows tokenizers and chat templates; it has never seen a model.
"""

from hf_attrib.text.chat import Messages, Prompts
from hf_attrib.text.documents import Document, Documents
from hf_attrib.text.encoding import settings_kept
from hf_attrib.text.given import Ids
from hf_attrib.text.grouping import Grouping, chosen, finest, partition
from hf_attrib.text.parts import Named, parts_of
from hf_attrib.text.sequence import Request, Requests, TokenSequence
from hf_attrib.text.tokens import ROLES, Segment, Span, Tokens, detokenize

__all__ = [
    "ROLES",
    "Document",
    "Documents",
    "Grouping",
    "Ids",
    "Messages",
    "Named",
    "Prompts",
    "Request",
    "Requests",
    "Segment",
    "Span",
    "TokenSequence",
    "Tokens",
    "chosen",
    "detokenize",
    "finest",
    "partition",
    "parts_of",
    "settings_kept",
]
