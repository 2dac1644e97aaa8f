"""stub"""
from agentrl.models.tiny.build import Vocabulary
def vocabulary() -> Vocabulary:
    return Vocabulary(phrases=("go to",), words=("a",))
