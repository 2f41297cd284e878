"""A target without an Implementation: the refusal says how to add one."""


def softmax(x, dim):
    return x.softmax(dim)
