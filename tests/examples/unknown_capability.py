"""A target that declares a capability which no softmax has."""

from seqlaws import Implementation

mine = Implementation(name="mine", subject="softmax", call=lambda x, dim: x.softmax(dim), can={"gradeint"})
