"""What is being explained: a class, several, a contrast, a region, a box, a similarity, a word."""

from limelight.targets.asked import Asked, Labels, Named, Question, Target, together
from limelight.targets.asking import ask, check, part, questions
from limelight.targets.boxes import Boxed, Candidates, Detections, Found, Group, box, detections
from limelight.targets.combined import (
    Classes,
    Contrast,
    Counter,
    Each,
    Scored,
    classes,
    contrast,
    counter,
    each,
    log_probability,
    probability,
    rest,
)
from limelight.targets.regions import Region, region
from limelight.targets.scores import (
    Top,
    class_index,
    class_scores,
    label_of,
    logits_of,
    probabilities_of,
    top,
)
from limelight.targets.similarity import Similar, similar
from limelight.targets.words import Word, Words, sentence, word, words

__all__ = [
    "Asked",
    "Boxed",
    "Candidates",
    "Classes",
    "Contrast",
    "Counter",
    "Detections",
    "Each",
    "Found",
    "Group",
    "Labels",
    "Named",
    "Question",
    "Region",
    "Scored",
    "Similar",
    "Target",
    "Top",
    "Word",
    "Words",
    "ask",
    "box",
    "check",
    "class_index",
    "class_scores",
    "classes",
    "contrast",
    "counter",
    "detections",
    "each",
    "label_of",
    "log_probability",
    "logits_of",
    "part",
    "probabilities_of",
    "probability",
    "questions",
    "region",
    "rest",
    "sentence",
    "similar",
    "together",
    "top",
    "word",
    "words",
]
