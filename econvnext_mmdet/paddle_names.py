"""Names of the reference's parameters (PaddlePaddle) and what they are called here.

The reference keeps the classifier's linear weight as (in, out), PyTorch as (out, in): a converter transposes
``head.fc.weight``.
"""
import re
from typing import Optional

# Pattern of a Paddle name and its replacement, in mmpretrain's layout of a classifier. The first that matches
# the whole name counts.
CLASSIFIER = (
    (r'Down_Conv\.conv(\d)\.(.+)', lambda m: f'backbone.stem.{int(m[1]) - 1}.{m[2]}'),
    (r'(stages\.\d)\.down\.0\.(.+)', r'backbone.\1.down.\2'),
    (r'(stages\.\d\.blocks\.\d+)\.norm\.(.+)', r'backbone.\1.norm1.\2'),
    (r'(stages\.\d\.blocks\.\d+)\.ese\.(.+)', r'backbone.\1.attn.\2'),
    (r'(stages\.\d\..+)', r'backbone.\1'),
    # The reference norms the outputs of stages 1, 2, 3 and counts them from 0.
    (r'norms\.(\d)\.(.+)', lambda m: f'backbone.norm{int(m[1]) + 1}.{m[2]}'),
    (r'norm\.(.+)', r'head.norm.\1'),
    (r'head\.fc_cls\.(.+)', r'head.fc.\1'),
)
STATISTICS = {'_mean': 'running_mean', '_variance': 'running_var'}
# Layer Scale, which the reference builds and never multiplies with; of a detector's file, the classifier's norm that
# its backbone keeps, and neck and head, the numbers 0 to 16 of the latter's projection among them.
UNUSED = re.compile(r'(backbone\.)?stages\.\d\.blocks\.\d+\.gamma|backbone\.norm\..+|(neck|yolo_head)\..+')


def to_torch_name(name: str) -> Optional[str]:
    """The name here of a parameter of the reference's classifier, or of the backbone in a detector of its.

    Args:
        name (str): Paddle's name, as ``stages.0.conv1.bn._mean``, in a detector after ``backbone.``.

    Returns:
        str | None: Its name in an mmpretrain classifier, as ``backbone.stages.0.conv1.bn.running_mean``; None
        for a parameter that the reference does not use.

    Raises:
        KeyError: The name is none of the reference's.
    """
    if UNUSED.fullmatch(name):
        return None
    name = re.sub(r'^backbone\.', '', name)
    for pattern, replacement in CLASSIFIER:
        if re.fullmatch(pattern, name):
            head, _, last = re.sub(pattern, replacement, name).rpartition('.')
            return f'{head}.{STATISTICS.get(last, last)}'
    raise KeyError(name)
